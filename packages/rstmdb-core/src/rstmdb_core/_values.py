"""What a name and a JSON value from outside must be like."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ._errors import InvalidRequest

MAX_NAME_BYTES: Final = 256
MAX_DEPTH: Final = 128
"""Levels of objects and arrays in a context or payload, the outermost included.

Far below every recursion limit, so that whatever was accepted can be read back from any depth of
the caller's stack.
"""

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def shown(value: object) -> str:
    """Return the value for an error message, quoted and short."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 64 else f"{value[:64]!r}... ({len(value)} characters)"
    if isinstance(value, (dict, list, tuple)):
        return f"{kind_of(value)} of {len(value)}"
    if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 64 else text[:64] + "..."


def kind_of(value: object) -> str:
    """Return what JSON calls the value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (list, tuple)):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return f"a {type(value).__name__}"


def name_fault(value: object) -> str | None:
    """Return why the value is no name, or None for a name.

    Names are 1 to 256 bytes of UTF-8 without control characters (spec: engine, Definitions).
    """
    if not isinstance(value, str):
        return f"must be a string, not {kind_of(value)}"
    if not value:
        return "must not be empty"
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            return f"is not valid Unicode: lone surrogate at character {error.start}"
    if size > MAX_NAME_BYTES:
        return f"is {size} bytes long; at most {MAX_NAME_BYTES} are allowed"
    control = _CONTROL.search(value)
    if control is not None:
        return (
            f"{shown(value)} contains the control character U+{ord(control[0]):04X}"
            f" at character {control.start()}"
        )
    return None


def check_name(value: object, what: str) -> None:
    """Raise InvalidRequest unless the value is a name; `what` is the parameter's name."""
    fault = name_fault(value)
    if fault is not None:
        raise InvalidRequest(f"{what} {fault}", {"parameter": what})


def check_object(value: object, what: str) -> dict[str, object]:
    """Return the value as a JSON object, null as an empty one; raise InvalidRequest otherwise."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{what} must be an object, not {kind_of(value)}", {"parameter": what})
    return value


def encode_context(value: dict[str, object], what: str) -> bytes:
    """Return the object as JSON.

    Raises InvalidRequest for a lone surrogate or when it is nested deeper than 128 levels. `what`
    names the value in the message.
    """
    try:
        encoded = _encode_json(value)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{what} contains a string that is not valid Unicode") from error
    except RecursionError as error:
        raise _too_deep(what) from error
    except TypeError as error:
        raise InvalidRequest(f"{what} holds what JSON cannot: {error}") from error
    except ValueError as error:
        # Python refuses to print an integer of thousands of digits.
        raise InvalidRequest(f"{what} holds an integer beyond 64 bits") from error
    # Fewer brackets than levels allowed is proof enough; only odd contexts need the walk.
    if encoded.count(b"{") + encoded.count(b"[") > MAX_DEPTH and _depth_exceeds(value, MAX_DEPTH):
        raise _too_deep(what)
    return encoded


def canonical_json(value: object) -> bytes:
    """Return the value as JSON in UTF-8 with sorted keys and no spaces."""
    try:
        return _encode_sorted(value)
    except TypeError:
        # A Python dict with keys that are no strings: what it is as JSON has only strings.
        return _encode_sorted(_decode_json(_encode_json(value)))


def find_unstorable(value: object) -> tuple[str, object] | None:
    """Return path and value of the first integer that no log entry can hold, or None.

    Entries hold -2^63 to 2^64 - 1, which is what MessagePack has.
    """
    stack: list[tuple[str, object]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, int) and not _MIN_INT <= item <= _MAX_INT:
            return path, item
        if isinstance(item, dict):
            children = [(f"{path}.{key}" if path else str(key), v) for key, v in item.items()]
            stack.extend(reversed(children))
        elif isinstance(item, list):
            stack.extend((f"{path}[{i}]", item[i]) for i in range(len(item) - 1, -1, -1))
    return None


def _too_deep(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{what} is nested too deeply: at most {MAX_DEPTH} levels of objects and arrays",
        {"max_depth": MAX_DEPTH},
    )


def _depth_exceeds(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        deeper: list[object] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(v for v in item.values() if isinstance(v, (dict, list)))
            elif isinstance(item, list):
                deeper.extend(v for v in item if isinstance(v, (dict, list)))
        if not deeper:
            return False
        level = deeper
    return True
