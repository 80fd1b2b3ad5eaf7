"""Searching for what lies behind damage: readable records, at whatever byte they begin."""

from __future__ import annotations

from collections.abc import Iterator

from crc32c import crc32c

from rstmdb_wal._record import (
    COVERED,
    FLAG_OURS,
    HEADER,
    HEADER_BYTES,
    KNOWN_KINDS,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    RawRecord,
    decode_at,
)
from rstmdb_wal._spans import SpanSums
from rstmdb_wal.fs import CHUNK_BYTES, File, read_full

_READ_WHOLE_BYTES = 4096  # payloads up to this size are read to be checked


def search(
    file: File, start: int, end: int, seed: int, above: int, *, legacy: bool, near: bool = True
) -> Iterator[RawRecord]:
    """Yield each readable record between ``start`` and ``end`` with a sequence above ``above``.

    Records may start at any byte. A header must first look right: a known type, a length that
    fits and, if ``near``, a sequence that as many records of the least size could have reached.
    Takes time in proportion to the bytes searched, whatever they are.
    """
    sums = SpanSums(file, start)
    position = start
    while position + HEADER_BYTES <= end:
        data = read_full(file, min(CHUNK_BYTES, end - position), position)
        sums.forget(position)
        at = data.find(MAGIC)
        while at >= 0 and at + HEADER_BYTES <= len(data):
            place = position + at
            found = None
            _, kind, flags, gap, size, crc, sequence = HEADER.unpack_from(data, at)
            reach = above + 1 + (place - start) // HEADER_BYTES + 1
            if (
                kind in KNOWN_KINDS
                and size <= min(MAX_PAYLOAD_BYTES, end - place - HEADER_BYTES)
                and sequence > above
                and (sequence <= reach or not near)
                and (not (flags or gap) if legacy else flags & FLAG_OURS)
            ):
                before = 0
                if not legacy:
                    before = crc32c(COVERED.pack(kind, flags, gap, size, sequence), seed)
                payload = place + HEADER_BYTES
                if size <= _READ_WHOLE_BYTES or sums.crc(payload, payload + size, before) == crc:
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
