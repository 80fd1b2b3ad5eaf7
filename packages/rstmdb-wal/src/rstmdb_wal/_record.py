"""The bytes of a record (docs/reference/log-format).

All numbers are big-endian. A header of 24 bytes, then the payload as stored:

    bytes   field      meaning
    0-4     magic      "WLOG"
    4       type       1 to 7, 255 for a no-op
    5       flags      0x1 ours, 0x2 more records of the same batch follow, 0x4 zstd
    6-8     gap        ours: sequence minus the highest synced sequence when this record was
                       encoded, 1 to 65535 (65535: unknown); the original's: 0
    8-12    length     of the payload as stored, at most 16 MiB
    12-16   crc        CRC32C, see below
    16-24   sequence   1, 2, 3, ... over all segments

The CRC of our records starts from crc32c(database id) and covers bytes 4-12, bytes 16-24, then
the payload: a flipped length or sequence, a record of another database and record bytes that a
client put into a payload all fail it. Those 16 header bytes are adjacent once gap and length
are packed without the CRC between them, so that one small struct yields them. The CRC of the
original's records (flags 0) covers the payload alone and starts from 0.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import zstandard
from crc32c import crc32c

KIND_PUT_MACHINE = 1
KIND_CREATE_INSTANCE = 2
KIND_APPLY_EVENT = 3
KIND_DELETE_INSTANCE = 4
KIND_SNAPSHOT = 5
KIND_CHECKPOINT = 6
KIND_FLUSH_ALL = 7
KIND_NOOP = 255

ENTRY_KINDS = frozenset(range(KIND_PUT_MACHINE, KIND_FLUSH_ALL + 1))
KNOWN_KINDS = ENTRY_KINDS | {KIND_NOOP}

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
HEADER_BYTES = 24
MAGIC = b"WLOG"

FLAG_OURS = 0x1
FLAG_MORE = 0x2
FLAG_ZSTD = 0x4
KNOWN_FLAGS = FLAG_OURS | FLAG_MORE | FLAG_ZSTD

UNKNOWN_GAP = 65535

HEADER = struct.Struct(">4sBBHIIQ")
COVERED = struct.Struct(">BBHIQ")  # type, flags, gap, length, sequence: what the CRC covers


class Record(NamedTuple):
    """One record as it is read back.

    ``offset`` is where it starts and ``end`` one past its last byte, ``payload`` what was
    appended (decompressed), ``legacy`` whether it is the original's JSON record, ``more``
    whether more records of the same atomic batch follow.
    """

    kind: int
    sequence: int
    offset: int
    payload: bytes
    legacy: bool
    more: bool
    end: int


class RawRecord(NamedTuple):
    """A record whose CRC holds, as stored; ``position`` and ``end`` are bytes in its segment."""

    position: int
    kind: int
    flags: int
    gap: int
    sequence: int
    stored: bytes
    end: int


def crc_seed(database_id: bytes) -> int:
    """Return the value that the CRC of this database's records starts from."""
    return crc32c(database_id)


def encode(kind: int, flags: int, gap: int, sequence: int, stored: bytes, seed: int) -> bytes:
    """Return one record of ours; ``stored`` is the payload, compressed if flags say so."""
    size = len(stored)
    crc = crc32c(stored, crc32c(COVERED.pack(kind, flags, gap, size, sequence), seed))
    return HEADER.pack(MAGIC, kind, flags, gap, size, crc, sequence) + stored


def decode_at(data: bytes, at: int, position: int, seed: int, *, legacy: bool) -> RawRecord | None:
    """Read the record that starts at ``data[at]``; None unless it is whole and its CRC holds.

    ``position`` is where it lies in its segment, ``legacy`` which of the two kinds of record
    the segment holds: one of the other kind is unreadable there, since the original's unseeded
    CRC would hold for bytes that a client sent.
    """
    if at + HEADER_BYTES > len(data):
        return None
    magic, kind, flags, gap, size, crc, sequence = HEADER.unpack_from(data, at)
    if magic != MAGIC or size > MAX_PAYLOAD_BYTES:
        return None
    stop = at + HEADER_BYTES + size
    if stop > len(data):
        return None
    stored = data[at + HEADER_BYTES : stop]
    if legacy:
        if flags or gap or crc32c(stored) != crc:
            return None
    elif not flags & FLAG_OURS or crc != crc32c(
        stored, crc32c(data[at + 4 : at + 12] + data[at + 16 : at + 24], seed)
    ):
        return None
    return RawRecord(position, kind, flags, gap, sequence, stored, position + HEADER_BYTES + size)


def compress(payload: bytes) -> bytes:
    """Return the payload as one zstd frame that names its size."""
    return zstandard.ZstdCompressor(level=1).compress(payload)


def decompress(stored: bytes) -> bytes:
    """Undo ``compress``. Raises ``ValueError`` if this is no frame of at most 16 MiB."""
    try:
        size = zstandard.frame_content_size(stored)
        if not 0 <= size <= MAX_PAYLOAD_BYTES:
            raise ValueError("compressed payload of unknown size or above the limit")
        return zstandard.ZstdDecompressor().decompress(stored)
    except zstandard.ZstdError as error:
        raise ValueError(f"compressed payload: {error}") from error
