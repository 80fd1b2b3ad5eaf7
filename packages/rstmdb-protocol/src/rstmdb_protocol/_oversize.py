"""Requests that are larger than their operation takes: refused by their size, unread.

Reading a message of many megabytes takes longer than other connections should wait. What
operation it asks for stands at its beginning or its end, whatever else is between.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from ._messages._envelope import RequestMeta
from ._messages._types import RequestId
from ._operations import OPERATIONS

__all__ = ["SMALLEST_LIMIT_BYTES", "oversize", "too_large_unread"]

SMALLEST_LIMIT_BYTES = min(operation.max_bytes for operation in OPERATIONS.values())
LOOKED_AT_BYTES = 4096

_STRING = rb'"(?:[^"\\]|\\.)*"'
_MEMBER = (
    rb'\s*"(id|op|type|meta)"\s*:\s*(' + _STRING + rb"|null|\{(?:[^{}\"]|" + _STRING + rb")*\})"
)
_FIRST = re.compile(rb"\s*\{((?:" + _MEMBER + rb"\s*,)+)", re.DOTALL)
_LAST = re.compile(rb"[\]}]((?:\s*," + _MEMBER + rb")+)\s*\}\s*\Z", re.DOTALL)
_member = re.compile(_MEMBER, re.DOTALL)
_decode_id = msgspec.json.Decoder(RequestId).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_meta: Callable[[bytes], RequestMeta | None] = msgspec.json.Decoder(
    RequestMeta | None
).decode


def too_large_unread(payload: bytes | bytearray) -> tuple[str, str, str | None] | None:
    """Id and trace id of a request larger than its operation takes; between them what is wrong.

    None also for one whose beginning and end do not show its id and operation.
    """
    members: dict[bytes, bytes] = {}
    for found in (
        _FIRST.match(payload[:LOOKED_AT_BYTES]),
        _LAST.search(payload[-LOOKED_AT_BYTES:]),
    ):
        if found is not None:
            members |= {member[1]: member[2] for member in _member.finditer(found[1])}
    try:
        request_id, op = _decode_id(members[b"id"]), _decode_string(members[b"op"])
        meta = _decode_meta(members.get(b"meta", b"null"))
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # to be read, then, by what can say what is wrong with it
    problem = oversize(op, len(payload))
    trace_id = None if meta is None else meta.trace_id
    return None if problem is None else (request_id, problem, trace_id)


def oversize(op: str, size: int) -> str | None:
    """What is wrong with a request of `size` bytes, if it is larger than its operation takes."""
    operation = OPERATIONS.get(op)
    if operation is None or size <= operation.max_bytes:
        return None
    return f"{op}: a request of {size} bytes; it may have at most {operation.max_bytes}"
