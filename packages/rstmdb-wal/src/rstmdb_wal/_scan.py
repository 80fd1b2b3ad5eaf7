"""Reading the records of one segment: in order, and in search of what lies behind damage."""

from __future__ import annotations

from collections.abc import Iterator

from crc32c import crc32c

from rstmdb_wal._record import (
    FLAG_OURS,
    HEADER,
    HEADER_BYTES,
    KNOWN_KINDS,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    RawRecord,
    decode_at,
)
from rstmdb_wal.fs import CHUNK_BYTES, File, read_full

SMALL_CHUNK_BYTES = 64 * 1024


class Walker:
    """The readable records of a segment, from ``position`` on, up to ``end``.

    After the iteration ``position`` is where the first record lies that could not be read, or
    the end. Memory: a chunk, or one record if that is larger. The chunks grow, so that a short
    read at the tail of the log stays short and a long one is sequential.
    """

    __slots__ = ("_chunk", "_end", "_file", "_legacy", "_seed", "bytes_read", "position", "reads")

    def __init__(self, file: File, position: int, end: int, seed: int, *, legacy: bool) -> None:
        self._file = file
        self._end = end
        self._seed = seed
        self._legacy = legacy
        self._chunk = SMALL_CHUNK_BYTES
        self.position = position
        self.bytes_read = 0
        self.reads = 0

    def _load(self, position: int, least: int) -> bytes:
        size = min(max(self._chunk, least), self._end - position)
        self._chunk = CHUNK_BYTES
        data = read_full(self._file, size, position) if size > 0 else b""
        self.reads += 1
        self.bytes_read += len(data)
        return data

    def __iter__(self) -> Iterator[RawRecord]:
        unpack, seed, legacy = HEADER.unpack_from, self._seed, self._legacy
        base = position = self.position
        data, length = b"", 0
        while True:
            at = position - base
            if at + HEADER_BYTES > length:
                data, base, at = self._load(position, HEADER_BYTES), position, 0
                length = len(data)
                if length < HEADER_BYTES:
                    return
            magic, kind, flags, gap, size, crc, sequence = unpack(data, at)
            if magic != MAGIC or size > MAX_PAYLOAD_BYTES:
                return
            stop = at + HEADER_BYTES + size
            if stop > length:
                if position + HEADER_BYTES + size > self._end:
                    return
                data, base, at = self._load(position, HEADER_BYTES + size), position, 0
                length, stop = len(data), HEADER_BYTES + size
                if stop > length:
                    return
            # The same checks as decode_at, without its calls: recovery spends its time here.
            stored = data[at + HEADER_BYTES : stop]
            if legacy:
                if flags or gap or crc32c(stored) != crc:
                    return
            elif not flags & FLAG_OURS or crc != crc32c(
                stored, crc32c(data[at + 4 : at + 12] + data[at + 16 : at + 24], seed)
            ):
                return
            end = base + stop
            self.position = end
            yield RawRecord(position, kind, flags, gap, sequence, stored, end)
            position = end


def only_zeros(file: File, start: int, end: int) -> bool:
    """Tell whether nothing but zero bytes lies between ``start`` and ``end``."""
    while start < end:
        data = read_full(file, min(CHUNK_BYTES, end - start), start)
        if not data:
            return True
        if data.count(0) != len(data):
            return False
        start += len(data)
    return True


def search(
    file: File, start: int, end: int, seed: int, above: int, *, legacy: bool, near: bool = True
) -> Iterator[RawRecord]:
    """Yield each readable record between ``start`` and ``end`` with a sequence above ``above``.

    Records may start at any byte. A header must first look right: a known type, a length that
    fits and, if ``near``, a sequence that as many records of the least size could have reached.
    """
    position = start
    while position + HEADER_BYTES <= end:
        data = read_full(file, min(CHUNK_BYTES, end - position), position)
        at = data.find(MAGIC)
        while at >= 0 and at + HEADER_BYTES <= len(data):
            place = position + at
            found = None
            _, kind, _, _, size, _, sequence = HEADER.unpack_from(data, at)
            reach = above + 1 + (place - start) // HEADER_BYTES + 1
            if (
                kind in KNOWN_KINDS
                and size <= min(MAX_PAYLOAD_BYTES, end - place - HEADER_BYTES)
                and sequence > above
                and (sequence <= reach or not near)
            ):
                whole = read_full(file, HEADER_BYTES + size, place)
                found = decode_at(whole, 0, place, seed, legacy=legacy)
            if found is not None:
                yield found
                at = data.find(MAGIC, at + HEADER_BYTES + size)
                if at < 0 and found.end > position + len(data):
                    position = found.end - len(data)  # go on behind the record, not inside it
            else:
                at = data.find(MAGIC, at + 1)
        if len(data) < HEADER_BYTES:
            return
        # A header may straddle two chunks: the next one begins before the end of this one.
        position += len(data) - HEADER_BYTES + 1
