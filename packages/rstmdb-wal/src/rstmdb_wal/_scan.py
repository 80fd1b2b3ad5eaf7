"""Reading the records of one segment in order."""

from __future__ import annotations

from collections.abc import Iterator

from crc32c import crc32c

from rstmdb_wal._record import (
    FLAG_OURS,
    HEADER,
    HEADER_BYTES,
    KIND_DELETE_INSTANCE,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    UNKNOWN_GAP,
    RawRecord,
    Record,
    decode_at,
)
from rstmdb_wal.fs import CHUNK_BYTES, File, read_full

SMALL_CHUNK_BYTES = 64 * 1024


class Walker:
    """The readable records of a segment, from ``position`` on, up to ``end``.

    ``position`` is where the next record lies, in the end the first one that could not be read.
    Memory: a chunk, or one record if that is larger. The chunks grow, so that a short read at
    the tail of the log stays short and a long one is sequential.
    """

    __slots__ = (
        "_base",
        "_chunk",
        "_data",
        "_end",
        "_file",
        "_legacy",
        "_seed",
        "bytes_read",
        "position",
        "reads",
    )

    def __init__(self, file: File, position: int, end: int, seed: int, *, legacy: bool) -> None:
        self._file = file
        self._end = end
        self._seed = seed
        self._legacy = legacy
        self._chunk = SMALL_CHUNK_BYTES
        self._data = b""
        self._base = position  # of the data in the segment
        self.position = position
        self.bytes_read = 0
        self.reads = 0

    def __iter__(self) -> Iterator[RawRecord]:
        """Yield the records up to the first that cannot be read."""
        while (raw := self.next()) is not None:
            yield raw

    def next(self) -> RawRecord | None:
        """Return the record at ``position`` and go behind it; None if none can be read there."""
        position = self.position
        at = position - self._base
        if at + HEADER_BYTES > len(self._data):
            self._load(HEADER_BYTES)
            at = 0
            if len(self._data) < HEADER_BYTES:
                return None
        magic, _, _, _, size, _, _ = HEADER.unpack_from(self._data, at)
        if magic != MAGIC or size > MAX_PAYLOAD_BYTES:
            return None
        if at + HEADER_BYTES + size > len(self._data):
            if position + HEADER_BYTES + size > self._end:
                return None
            self._load(HEADER_BYTES + size)
            at = 0
        raw = decode_at(self._data, at, position, self._seed, legacy=self._legacy)
        if raw is not None:
            self.position = raw.end
        return raw

    def plain(self, expected: int, start: int) -> tuple[list[Record], int]:
        """Return the records at ``position`` that need no second look, and go behind them.

        These are records of ours of the kinds that traffic is made of, not compressed, in no
        atomic batch, in sequence from ``expected`` on, as far as they lie whole in what is
        loaded. ``start`` is the offset of the segment's first byte. Also returned: up to which
        sequence they prove that the log was synced. Here recovery spends its time: the checks
        are those of ``decode_at`` and of ``Replay``, without a call for each record.
        """
        records: list[Record] = []
        proven = 0
        if self._legacy:
            return records, proven
        data, seed = self._data, self._seed
        length = len(data)
        base = self._base
        at = self.position - base
        unpack, crc32, new, append = HEADER.unpack_from, crc32c, tuple.__new__, records.append
        while at + HEADER_BYTES <= length:
            magic, kind, flags, gap, size, crc, sequence = unpack(data, at)
            begin = at + HEADER_BYTES
            stop = begin + size
            if (
                sequence != expected
                or flags != FLAG_OURS
                or magic != MAGIC
                or not 0 < kind <= KIND_DELETE_INSTANCE
                or not gap  # at least 1 in what we write
                or stop > length
            ):
                break
            stored = data[begin:stop]
            if crc != crc32(stored, crc32(data[at + 4 : at + 12] + data[at + 16 : begin], seed)):
                break
            if gap < UNKNOWN_GAP:
                proven = sequence - gap
            # Not start + base + at: what is added is kept with room for a carry, 16 bytes for
            # each of a million offsets that stay.
            offset = start | base + at
            append(new(Record, (kind, sequence, offset, stored, False, False, start | base + stop)))
            expected += 1
            at = stop
        self.position = base + at
        return records, proven

    def _load(self, least: int) -> None:
        """Read on from ``position``, at least so much if there is as much."""
        size = min(max(self._chunk, least), self._end - self.position)
        self._chunk = CHUNK_BYTES
        self._data = read_full(self._file, size, self.position) if size > 0 else b""
        self._base = self.position
        self.reads += 1
        self.bytes_read += len(self._data)


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
