"""A definition as JSON text: its size is known before it is decoded, and it is decoded in parts.

Whoever decodes it may be one thread of several. A decoder holds the interpreter for as long as
one call takes, so what is too large is never decoded, and the rest is not in one call.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from ._errors import InvalidRequest

_PIECE_BYTES: Final = 256 * 1024
_SPACE_AND_ESCAPES: Final = b" \t\r\n\\"
_LONGER_BY: Final = 4
r"""Bytes by which \u0041 is longer than what it stands for, its backslash not counted."""

_any = msgspec.json.Decoder()
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
        return _decode(_any, text, place)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{place} holds a number out of range") from error


def stand_in(text: Raw) -> object:
    """Return a value of the text's type for text that is no object, an empty one if it is long."""
    match bytes(memoryview(text)[:1]):
        case b"[":
            return []
        case b'"':
            return ""
    return value_of(text, "definition")


def _decode(decoder: msgspec.json.Decoder[Any], text: Raw, place: str) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{place} is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest(f"{place} is nested too deeply") from error
