"""A definition as JSON text: its size is known before it is decoded, and it is decoded in parts.

Whoever decodes it may be one thread of several. A decoder holds the interpreter for as long as
one call takes, so what is too large is never decoded, and the rest is not in one call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from ._errors import InvalidRequest

_PIECE_BYTES: Final = 256 * 1024
_SPACE_AND_ESCAPES: Final = b" \t\r\n\\"
_LONGER_BY: Final = 4
r"""Bytes by which \u0041 is longer than what it stands for, its backslash not counted."""

_CALL_BYTES: Final = 64 * 1024
"""What is decoded in one call, mostly: dense JSON takes a millisecond for so much."""
_OBJECT: Final = ord("{")
_ARRAY: Final = ord("[")

_any = msgspec.json.Decoder()
_raws: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_members: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def least_bytes(text: Raw) -> int:
    """Return what the text has at least without white space and with the shortest escapes."""
    view = memoryview(text)
    least = 0
    for start in range(0, len(view), _PIECE_BYTES):
        piece = bytes(view[start : start + _PIECE_BYTES])
        escapes = piece.count(b"\\u") + 1  # one may begin in this piece and end in the next
        least += len(piece.translate(None, _SPACE_AND_ESCAPES)) - escapes * _LONGER_BY
    return max(least, 0)


def members_of(text: Raw) -> dict[str, Raw] | None:
    """Return the members of the object that the text is, still as text; None for what is none.

    Raises InvalidRequest for what is not JSON.
    """
    try:
        members: dict[str, Raw] = _decode(_members, text, "the definition")
    except msgspec.ValidationError:
        return None
    return members


def value_of(text: Raw, place: str) -> object:
    """Return what the text stands for; raise InvalidRequest with `place` where that can't be."""
    try:
        return _value(text, place)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{place} holds a number out of range") from error
    except RecursionError as error:
        raise _too_deep(place) from error


def _value(text: Raw, place: str) -> object:
    view = memoryview(text)
    if len(view) > _CALL_BYTES:
        if view[0] == _OBJECT:
            members: dict[str, Raw] = _decode(_members, text, place)
            return {key: _value(member, place) for key, member in members.items()}
        if view[0] == _ARRAY:
            return list(_elements(bytes(view), place))
    return _decode(_any, text, place)


def _elements(array: bytes, place: str) -> Iterator[object]:
    """Decode an array in pieces.

    Where to cut it is guessed. That a piece is an array again, with brackets around it, proves
    that the guess was right: the cut is in no string and in nothing that is nested.
    """
    at = 1
    while len(array) - at > _CALL_BYTES:
        for end in _guesses(array, at):
            try:
                yield from _any.decode(b"[" + array[at:end] + b"]")
            except msgspec.ValidationError:
                raise
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            at = end + 1
            break
        else:  # what is next may be too long for a piece
            rest: list[Raw] = _decode(_raws, b"[" + array[at:], place)
            yield from (_value(element, place) for element in rest)
            return
    yield from _decode(_any, b"[" + array[at:], place)


def _guesses(array: bytes, at: int) -> Iterator[int]:
    """The last comma of each kind that may end a piece which begins at `at`."""
    for ending in (b"},", b"],", b'",', b","):
        found = array.rfind(ending, at, at + _CALL_BYTES)
        if found >= 0:
            yield found + len(ending) - 1


def stand_in(text: Raw) -> object:
    """Return a value of the text's type for text that is no object, an empty one if it is long."""
    match bytes(memoryview(text)[:1]):
        case b"[":
            return []
        case b'"':
            return ""
    return value_of(text, "definition")


def _decode(decoder: msgspec.json.Decoder[Any], text: Raw | bytes, place: str) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{place} is not JSON: {error}") from error
    except RecursionError as error:
        raise _too_deep(place) from error


def _too_deep(place: str) -> InvalidRequest:
    return InvalidRequest(f"{place} is nested too deeply")
