"""Segment files: their names, the record that begins each of ours, the table of those kept.

A segment of ours begins with a no-op record (type 255, flags 0x1, gap 0, sequence 0, CRC seed 0)
that takes no sequence number. Its payload is a MessagePack map whose every field has a fixed
width, so that a struct reads and writes it (docs/reference/log-format):

    bytes    content
    0        0x85, a map of five
    1-10     "format": 0xcc, then one byte: 1
    10-40    "database_id": 0xc4 0x10, then 16 bytes
    40-60    "segment_id": 0xcf, then 8 bytes
    60-84    "first_sequence": 0xcf, then 8 bytes: the sequence of the first record behind this
    84-109   "previous_offset": 0xcf, then 8 bytes: the last record before this segment, 0: none

The header is synced before a record is written behind it: a header that cannot be read with
anything behind it is damage, not a torn write.
"""

from __future__ import annotations

import re
import struct
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from rstmdb_wal._errors import UnknownFormat
from rstmdb_wal._offset import make_offset
from rstmdb_wal._record import (
    FLAG_OURS,
    HEADER,
    HEADER_BYTES,
    KIND_CHECKPOINT,
    KIND_NOOP,
    KIND_PUT_MACHINE,
    MAGIC,
    Record,
    decode_at,
    encode,
)

FORMAT_VERSION = 1

_NAME = re.compile(r"([0-9a-f]{16})\.wal")
_BROKEN_NAME = re.compile(r"([0-9a-f]{16})\.wal\.\d+\.broken")
_FIELDS = struct.Struct(">B7sBB12sBB16s11sBQ15sBQ16sBQ")
_FIXED = (
    b"\xa6format",
    b"\xabdatabase_id",
    b"\xaasegment_id",
    b"\xaefirst_sequence",
    b"\xafprevious_offset",
)

SEGMENT_HEADER_BYTES = HEADER_BYTES + _FIELDS.size
MARK_BYTES = 64 * 1024  # distance between the record starts that are remembered per segment

_offset_of = attrgetter("offset")


class SegmentHeader(NamedTuple):
    """What the first record of one of our segments says."""

    database_id: bytes
    segment_id: int
    first_sequence: int
    previous_offset: int


def segment_name(segment_id: int) -> str:
    """Return the file name of a segment."""
    return f"{segment_id:016x}.wal"


def segment_id_of(name: str) -> int | None:
    """Return the segment id that a file name holds; None if it names no segment."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


def highest_segment_id(names: list[str]) -> int:
    """Return the highest segment id that names, also those of copies set aside, ever gave out."""
    matches = (_NAME.fullmatch(name) or _BROKEN_NAME.fullmatch(name) for name in names)
    return max((int(match[1], 16) for match in matches if match), default=0)


def broken_name(name: str, names: list[str]) -> str:
    """Return a name, not among ``names``, for a copy of what is cut from segment ``name``."""
    number = 1
    while f"{name}.{number}.broken" in names:
        number += 1
    return f"{name}.{number}.broken"


def encode_header(header: SegmentHeader) -> bytes:
    """Return the record that begins a segment."""
    form, database, segment, sequence, previous = _FIXED
    payload = _FIELDS.pack(
        0x85, form, 0xCC, FORMAT_VERSION, database, 0xC4, 16, header.database_id,
        segment, 0xCF, header.segment_id, sequence, 0xCF, header.first_sequence,
        previous, 0xCF, header.previous_offset,
    )  # fmt: skip
    return encode(KIND_NOOP, FLAG_OURS, 0, 0, payload, 0)


def decode_header(data: bytes, path: str) -> SegmentHeader | None:
    """Read the record at the start of ``data``; None unless it is a whole segment header.

    Raises ``UnknownFormat`` for a format version above ours.
    """
    raw = decode_at(data, 0, 0, 0, legacy=False)
    if raw is None or raw.kind != KIND_NOOP:
        return None
    # The version comes first, so that a later format can change all that follows it.
    if raw.stored[1:9] == _FIXED[0] + b"\xcc" and raw.stored[9] > FORMAT_VERSION:
        raise UnknownFormat(path, 0, f"format version {raw.stored[9]}")
    if len(raw.stored) != _FIELDS.size or raw.stored[9] != FORMAT_VERSION:
        return None
    values = _FIELDS.unpack(raw.stored)
    if (values[1], values[4], values[8], values[11], values[14]) != _FIXED:
        return None
    return SegmentHeader(values[7], values[10], values[13], values[16])


def legacy_first_sequence(data: bytes) -> int | None:
    """Return the sequence in the original's record at the start of ``data``; None if it is none.

    Only the look of a header counts: its payload may be a torn fragment. The type of our own
    first record is 255, one flipped bit away from none of the original's.
    """
    if len(data) < HEADER_BYTES:
        return None
    magic, kind, flags, reserved, _, _, sequence = HEADER.unpack_from(data)
    if magic != MAGIC or flags or reserved or not KIND_PUT_MACHINE <= kind <= KIND_CHECKPOINT:
        return None
    return int(sequence)


@dataclass(slots=True)
class Segment:
    """A kept segment: what is known of it, and record starts to begin reading from.

    ``end`` is one past its last record; for one that was not walked, its file's size.
    """

    segment_id: int
    path: Path
    end: int
    first_sequence: int
    previous_offset: int
    legacy: bool
    marks: list[int] = field(default_factory=list)

    @property
    def start(self) -> int:
        """Return where the first record lies."""
        return 0 if self.legacy else SEGMENT_HEADER_BYTES

    def mark(self, position: int) -> None:
        """Remember a record start, unless one within ``MARK_BYTES`` before it is known."""
        at = bisect_right(self.marks, position)
        if position - (self.marks[at - 1] if at else self.start) >= MARK_BYTES:
            self.marks.insert(at, position)

    def mark_next(self, position: int) -> None:
        """Remember the start of a record that lies behind all that are known, if it is due."""
        if position - (self.marks[-1] if self.marks else self.start) >= MARK_BYTES:
            self.marks.append(position)

    def mark_all(self, records: Sequence[Record]) -> None:
        """Do the same for records that follow each other."""
        base = make_offset(self.segment_id, 0)
        at = 0
        while True:
            after = base + (self.marks[-1] if self.marks else self.start) + MARK_BYTES
            at = bisect_left(records, after, lo=at, key=_offset_of)
            if at == len(records):
                return
            self.marks.append(records[at].offset - base)

    def start_before(self, position: int) -> int:
        """Return the last known record start at or before ``position``."""
        at = bisect_right(self.marks, position)
        return self.marks[at - 1] if at else self.start


class SegmentTable:
    """The kept segments in order. Any thread may call it."""

    __slots__ = ("_earliest", "_lock", "_segments", "compacted")

    def __init__(self, segments: list[Segment]) -> None:
        self._lock = threading.Lock()
        self._segments = {segment.segment_id: segment for segment in segments}
        self.compacted = False
        self._earliest = 0
        if segments:
            self._set_earliest(segments[0])

    def _set_earliest(self, first: Segment) -> None:
        self.compacted = first.first_sequence > 1
        if not self.compacted:
            self._earliest = make_offset(first.segment_id, first.start)
        elif first.previous_offset:
            self._earliest = first.previous_offset + 1
        else:  # the original's segments do not say what came before them
            self._earliest = make_offset(first.segment_id, 0)

    @property
    def earliest(self) -> int:
        """Return one past the last deleted record, or where the first record lies."""
        return self._earliest

    def reaches_back_to(self, offset: int) -> bool:
        """Tell whether no record at or above ``offset`` was deleted."""
        return not self.compacted or offset >= self._earliest

    def add(self, segment: Segment) -> None:
        """Append a segment with a higher id than all others."""
        with self._lock:
            self._segments[segment.segment_id] = segment
            if len(self._segments) == 1:
                self._set_earliest(segment)

    def remove(self, segment_id: int) -> None:
        """Forget a segment whose file is gone."""
        with self._lock:
            self._segments.pop(segment_id, None)
            first = next(iter(self._segments.values()), None)
            if first is not None:
                self._set_earliest(first)

    def grow(self, segment_id: int, start: int, end: int) -> None:
        """Take note of records written from ``start`` to ``end`` of the last segment."""
        segment = self._segments[segment_id]  # the last one is never removed
        marks = segment.marks
        if start - (marks[-1] if marks else segment.start) >= MARK_BYTES:
            with self._lock:
                segment.mark(start)
        segment.end = end

    def mark(self, segment_id: int, position: int) -> None:
        """Remember a record start of a segment, if that is still kept."""
        with self._lock:
            segment = self._segments.get(segment_id)
            if segment is not None:
                segment.mark(position)

    def start_before(self, segment: Segment, position: int) -> int:
        """Return the last known record start at or before ``position``."""
        with self._lock:
            return segment.start_before(position)

    def all(self) -> list[Segment]:
        """Return the segments, oldest first."""
        with self._lock:
            return list(self._segments.values())
