"""Requests as ready-made frames, and answers read by their frame headers alone.

A load generator that builds and decodes JSON measures itself. So the frames of a workload
are encoded ahead where their number allows, and an answer is looked at for its status only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from rstmdb_protocol import HEADER_BYTES, MAGIC, encode_frame

from ._errors import BenchError

__all__ = ["MACHINE", "Answers", "FrameSource", "Workload", "read_answers"]

MACHINE: Final = "load"
"""The machine that every workload but ping uses: a ring of five states, event NEXT."""

OK_MARK: Final = b'"status":"ok"'
ERROR_MARK: Final = b'"status":"error"'
POOL_FRAMES: Final = 65_536
"""At most so many frames are encoded ahead; a workload with more distinct ones makes them
on the way, at about a microsecond each."""
FEW_FRAMES: Final = 4096

_HEADER = struct.Struct(">4s4xHI4x")


class Workload(StrEnum):
    """What the requests ask for."""

    PING = "ping"
    GET = "get"
    APPLY = "apply"
    CREATE = "create"


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

    def __init__(
        self,
        workload: Workload,
        *,
        prefix: str,
        instances: int,
        in_flight: int,
        start: int = 0,
    ) -> None:
        self._make = _maker(workload, prefix, instances)
        self._next = start
        self._pool: list[bytes] | None = None
        distinct = 1 if workload is Workload.PING else instances
        if workload is not Workload.CREATE and distinct <= POOL_FRAMES:
            # Whole rounds of instances, and no id twice in flight on a connection.
            rounds = -(-max(FEW_FRAMES, in_flight) // distinct)
            self._pool_size = rounds * distinct
            pool = [self._make(number) for number in range(self._pool_size)]
            self._pool = pool + pool[:in_flight]

    def take(self, count: int) -> bytes:
        """The next `count` frames, at most `in_flight`, joined."""
        start = self._next
        if self._pool is None:
            self._next = start + count
            return b"".join(map(self._make, range(start, start + count)))
        start %= self._pool_size
        self._next = start + count
        return self._pool[start] if count == 1 else b"".join(self._pool[start : start + count])


def _maker(workload: Workload, prefix: str, instances: int) -> Callable[[int], bytes]:
    head = '{"type":"request","id":"%d","op":'
    name = prefix.replace("%", "%%")
    if workload is Workload.PING:
        ping = (head + '"PING","params":{}}').encode()
        return lambda number: encode_frame(ping % number)
    if workload is Workload.GET:
        get = (head + f'"GET_INSTANCE","params":{{"instance_id":"{name}-%d"}}}}').encode()
        return lambda number: encode_frame(get % (number, number % instances))
    if workload is Workload.APPLY:
        apply = (
            head + f'"APPLY_EVENT","params":{{"instance_id":"{name}-%d","event":"NEXT",'
            '"payload":{"step":%d,"who":"load"}}}'
        ).encode()
        return lambda number: encode_frame(apply % (number, number % instances, number))
    create = (
        head + f'"CREATE_INSTANCE","params":{{"instance_id":"{name}-%d","machine":"{MACHINE}",'
        '"version":1,"initial_ctx":{"customer":"c-%d","amount":100}}}'
    ).encode()
    return lambda number: encode_frame(create % (number, number, number))


def read_answers(data: bytes) -> Answers:
    """Count the whole answers that `data` begins with, and those with status ok.

    Raises BenchError when what arrived is no frame.
    """
    at = count = 0
    stop = len(data) - HEADER_BYTES
    ends = len(data)
    while at <= stop:
        magic, extension, size = _HEADER.unpack_from(data, at)
        if magic != MAGIC:
            raise BenchError(f"the server sent {data[at : at + 16]!r}, which is no RCP frame")
        end = at + HEADER_BYTES + extension + size
        if end > ends:
            break
        at = end
        count += 1
    # A context may hold either text: then the answers are looked at one by one.
    if data.count(OK_MARK, 0, at) == count and data.find(ERROR_MARK, 0, at) < 0:
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
