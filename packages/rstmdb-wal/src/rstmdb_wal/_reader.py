"""Reading released records, beside the writer and on any thread."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing

from rstmdb_wal._errors import LogDamaged, OffsetCompacted
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._record import FLAG_MORE, FLAG_ZSTD, KIND_NOOP, RawRecord, Record, decompress
from rstmdb_wal._scan import Walker, only_zeros
from rstmdb_wal._search import search
from rstmdb_wal._segment import MARK_BYTES, Segment, SegmentTable
from rstmdb_wal.fs import File, FileSystem

_PLACES = 1024  # positions of readers that are remembered


class LogReader:
    """Pages through the kept segments with descriptors of its own.

    A walk begins at a known record start: exactly where an earlier page ended, or one of the
    marks that are kept every 64 KiB. So a page costs its own size, wherever it lies.
    """

    __slots__ = ("_fs", "_lock", "_places", "_seed", "_table", "bytes_read", "reads")

    def __init__(self, fs: FileSystem, table: SegmentTable, seed: int) -> None:
        self._fs = fs
        self._table = table
        self._seed = seed
        self._lock = threading.Lock()
        self._places: dict[int, int] = {}
        self.bytes_read = 0
        self.reads = 0

    def read(
        self, from_offset: int, limit: int, max_bytes: int, upto: int, horizon: int
    ) -> list[Record]:
        """See ``Log.read``. ``horizon`` is one past the last released record."""
        if from_offset and not self._table.reaches_back_to(from_offset):
            raise OffsetCompacted(self._table.earliest)
        records: list[Record] = []
        room = max_bytes
        first_segment, _ = split_offset(from_offset)
        for segment in self._table.all():
            if segment.segment_id < first_segment:
                continue
            with closing(self._segment_records(segment, from_offset, horizon)) as found:
                for record in found:
                    if record.offset > upto or (records and len(record.payload) > room):
                        return self._page(records)
                    room -= len(record.payload)
                    records.append(record)
                    if len(records) >= limit or room <= 0:
                        return self._page(records)
        return self._page(records)

    def _page(self, records: list[Record]) -> list[Record]:
        """Remember where the next page begins: readers ask for one past what they have seen."""
        if records:
            last = records[-1]
            with self._lock:
                for offset in (last.offset + 1, last.end):
                    self._places.pop(offset, None)
                    self._places[offset] = last.end
                while len(self._places) > _PLACES:
                    del self._places[next(iter(self._places))]
        return records

    def _start(self, segment: Segment, from_offset: int) -> int:
        segment_id, position = split_offset(from_offset)
        if segment_id != segment.segment_id:
            return segment.start
        with self._lock:
            place = self._places.get(from_offset)
        if place is not None:
            return split_offset(place)[1]
        return self._table.start_before(segment, position)

    def _segment_records(
        self, segment: Segment, from_offset: int, horizon: int
    ) -> Generator[Record, None, None]:
        horizon_segment, end = split_offset(horizon)
        if segment.segment_id > horizon_segment:
            return
        if segment.segment_id < horizon_segment:
            end = segment.end
        start = self._start(segment, from_offset)
        if start >= end:
            return
        try:
            file = self._fs.open_read(segment.path)
        except FileNotFoundError as error:  # dropped since the table was copied
            raise OffsetCompacted(self._table.earliest) from error
        try:
            for raw in self._walk(file, segment, start, end):
                offset = make_offset(segment.segment_id, raw.position)
                if offset >= from_offset and raw.kind != KIND_NOOP:
                    yield to_record(raw, offset, segment)
        finally:
            file.close()

    def _walk(
        self, file: File, segment: Segment, start: int, end: int
    ) -> Generator[RawRecord, None, None]:
        mark = segment.start
        sequence = 0
        while True:
            walker = Walker(file, start, end, self._seed, legacy=segment.legacy)
            try:
                for raw in walker:
                    sequence = raw.sequence
                    if raw.position - mark >= MARK_BYTES:
                        mark = raw.position
                        self._table.mark(segment.segment_id, mark)
                    yield raw
            finally:
                with self._lock:
                    self.reads += walker.reads
                    self.bytes_read += walker.bytes_read
            if only_zeros(file, walker.position, end):
                return
            # The original appends behind a torn fragment: step over it, as recovery did.
            found = None
            if segment.legacy:
                found = next(
                    search(file, walker.position, end, 0, sequence, legacy=True, near=False), None
                )
            if found is None:
                if segment.legacy:
                    return
                raise LogDamaged(
                    str(segment.path),
                    make_offset(segment.segment_id, walker.position),
                    sequence + 1,
                    "unreadable record",
                    "it was readable when the log was opened",
                )
            start = found.position


def to_record(raw: RawRecord, offset: int, segment: Segment) -> Record:
    """Return the record as the user sees it. Raises ``LogDamaged`` if it does not decompress."""
    payload = raw.stored
    if raw.flags & FLAG_ZSTD:
        try:
            payload = decompress(payload)
        except ValueError as error:
            raise LogDamaged(
                str(segment.path), offset, raw.sequence, str(error), "its checksum holds"
            ) from error
    return Record(
        raw.kind,
        raw.sequence,
        offset,
        payload,
        segment.legacy,
        bool(raw.flags & FLAG_MORE),
        make_offset(segment.segment_id, raw.end),
    )
