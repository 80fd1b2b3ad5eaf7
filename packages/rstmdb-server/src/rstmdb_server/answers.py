"""Answers that can't leave yet, and answers that never can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstmdb_protocol import MAX_PAYLOAD_BYTES, ErrorCode, encode_error

if TYPE_CHECKING:
    from .subscriptions import Subscription

__all__ = ["UNKNOWN", "Held", "too_large"]

UNKNOWN = 1 << 62
"""The offset of an answer that is still being worked on: later than every record."""


class Held:
    """An answer that waits: for its offset to be released, or for its work to be done."""

    __slots__ = ("began", "offset", "op", "payload", "request_id", "starts")

    def __init__(
        self,
        offset: int,
        request_id: str | None,
        payload: bytes,
        op: str,
        began: float,
        starts: Subscription | None = None,
    ) -> None:
        self.offset = offset
        self.request_id = request_id
        self.payload = payload
        self.op = op
        """The operation that it answers; empty where there is none to count."""
        self.began = began
        """When its request was taken up, on time.perf_counter."""
        self.starts = starts
        """The subscription whose events may follow this answer."""


def too_large(request_id: str | None, size: int) -> bytes:
    """The answer in the place of one that does not fit a frame."""
    return encode_error(
        request_id,
        ErrorCode.BAD_REQUEST,
        f"the answer of {size} bytes does not fit a frame of {MAX_PAYLOAD_BYTES} bytes; "
        "ask for less with limit",
    )
