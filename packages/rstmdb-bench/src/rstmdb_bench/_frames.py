"""Requests as ready-made frames, and answers read by their frame headers alone.

A load generator that builds and decodes JSON measures itself. So the frames of a workload
are encoded ahead where their number allows, and an answer is looked at for its status only.
"""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple

from rstmdb_protocol import HEADER_BYTES, MAGIC

from ._errors import BenchError
from ._workload import Shape, Workload, frame_maker

__all__ = ["Answers", "FrameSource", "count_frames", "is_one_ok", "read_answers"]

OK_MARK: Final = b'"status":"ok"'
ERROR_MARK: Final = b'"status":"error"'
POOL_FRAMES: Final = 262_144
POOL_BYTES: Final = 128 * 1024 * 1024
"""What is encoded ahead, at most. Of more instances than that a part takes its turns, spread
evenly over all of them; no run of some seconds comes around to more."""
FEW_FRAMES: Final = 4096

_HEADER = struct.Struct(">4s4xHI4x")


class Answers(NamedTuple):
    """Whole answers at the start of some bytes."""

    total: int
    ok: int
    end: int
    """Where the first unfinished answer begins."""
    first_error: str | None


class FrameSource:
    """The frames of one workload, one after the other, from a sequence number on."""

    __slots__ = ("_make", "_next", "_pool", "_pool_size")

    def __init__(self, workload: Workload, shape: Shape, *, in_flight: int, start: int = 0) -> None:
        self._make = frame_maker(workload, shape)
        self._next = start
        self._pool: list[bytes] | None = None
        if workload is not Workload.CREATE:
            distinct = 1 if workload is Workload.PING else shape.instances
            self._fill(distinct, in_flight)

    def _fill(self, distinct: int, in_flight: int) -> None:
        most = max(in_flight, min(POOL_FRAMES, POOL_BYTES // len(self._make(0, 0))))
        # Whole rounds of instances, and no id twice in flight on a connection.
        rounds = -(-max(FEW_FRAMES, in_flight) // distinct)
        self._pool_size = min(rounds * distinct, most)
        stride = 1 if self._pool_size >= distinct else _stride(distinct)
        pool = [self._make(number, number * stride % distinct) for number in range(self._pool_size)]
        self._pool = pool + pool[:in_flight]

    def take(self, count: int) -> bytes:
        """The next `count` frames, at most `in_flight`, joined."""
        start = self._next
        if self._pool is None:
            self._next = start + count
            return b"".join(self._make(number, number) for number in range(start, start + count))
        start %= self._pool_size
        self._next = start + count
        return self._pool[start] if count == 1 else b"".join(self._pool[start : start + count])


def _stride(distinct: int) -> int:
    """A step that visits evenly, and all, of `distinct` numbers: the golden section of them."""
    stride = int(distinct * 0.618)
    while math.gcd(stride, distinct) != 1:
        stride += 1
    return stride


def count_frames(data: bytes) -> tuple[int, int]:
    """How many whole frames `data` begins with, and where they end.

    Raises BenchError when what arrived is no frame.
    """
    at = count = 0
    ends = len(data)
    stop = ends - HEADER_BYTES
    while at <= stop:
        magic, extension, size = _HEADER.unpack_from(data, at)
        if magic != MAGIC:
            raise BenchError(f"the server sent {data[at : at + 16]!r}, which is no RCP frame")
        end = at + HEADER_BYTES + extension + size
        if end > ends:
            break
        at = end
        count += 1
    return count, at


def is_one_ok(data: bytes) -> bool:
    """Whether `data` is exactly one answer, and that is ok beyond doubt."""
    if len(data) < HEADER_BYTES:
        return False
    magic, extension, size = _HEADER.unpack_from(data)
    return (
        magic == MAGIC
        and len(data) == HEADER_BYTES + extension + size
        and data.find(OK_MARK) >= 0
        and data.find(ERROR_MARK) < 0
    )


def read_answers(data: bytes) -> Answers:
    """Count the whole answers that `data` begins with, and those with status ok.

    Raises BenchError when what arrived is no frame.
    """
    count, at = count_frames(data)
    # A context may hold either text: then the answers are looked at one by one.
    if data.find(ERROR_MARK, 0, at) < 0 and data.count(OK_MARK, 0, at) >= count:
        return Answers(count, count, at, None)
    return _one_by_one(data, count, at)


def _one_by_one(data: bytes, count: int, end: int) -> Answers:
    at = ok = 0
    first_error = None
    while at < end:
        _, extension, size = _HEADER.unpack_from(data, at)
        start = at + HEADER_BYTES + extension
        at = start + size
        if data.find(OK_MARK, start, at) >= 0:
            ok += 1
        elif first_error is None:
            first_error = data[start : min(at, start + 300)].decode(errors="replace")
    return Answers(count, ok, end, first_error)
