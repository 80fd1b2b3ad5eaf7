"""Answers that can't leave yet, answers that never can, and what is told of those that left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from rstmdb_protocol import MAX_PAYLOAD_BYTES, ErrorCode, InvalidRequest, Request, WireMode

if TYPE_CHECKING:
    from .subscriptions import Subscription

__all__ = ["UNKNOWN", "Agreed", "Answered", "Asked", "Held", "Observer", "too_large", "trace_of"]

UNKNOWN = 1 << 62
"""The offset of an answer that is still being worked on: later than every record."""

Asked = Request | InvalidRequest | None
"""What an answer is to; None where the stream itself was at fault."""
Agreed = tuple[WireMode, Sequence[str]]
"""What HELLO settled: wire mode and features."""


class Held(Struct, gc=False):
    """An answer that waits: for its offset to be released, or for its work to be done."""

    request: Asked
    payload: bytes
    offset: int
    began: float
    """When its request was taken up, on time.perf_counter."""
    op: str = ""
    """The operation to count it under; empty where there is none."""
    error: str = ""
    """Its error code; empty for a result."""
    speaks: Agreed | None = None
    """How this answer and all after it are put on the wire, where that changes."""
    starts: Subscription | None = None
    """The subscription whose events may follow this answer."""


class Answered(NamedTuple):
    """What an observer is told of an answer as it leaves."""

    peer: str
    request_id: str | None
    trace_id: str | None
    op: str
    """The operation's name; empty for what was no valid request."""
    error: str
    """The error code; empty for a result."""
    began: float
    """When the request was taken up, in seconds on time.perf_counter."""
    ended: float
    """When the answer left, on the same clock."""
    offset: int
    """The record that the answer rests on; 0 for none."""


Observer = Callable[[Answered], None]


def trace_of(request: Asked) -> str | None:
    """The trace id that came with a request."""
    if isinstance(request, Request):
        return None if request.meta is None else request.meta.trace_id
    return None if request is None else request.trace_id


def too_large(size: int) -> tuple[ErrorCode, str]:
    """What takes the place of an answer that does not fit a frame."""
    return (
        ErrorCode.BAD_REQUEST,
        f"the answer of {size} bytes does not fit a frame of {MAX_PAYLOAD_BYTES} bytes; "
        "ask for less with limit",
    )
