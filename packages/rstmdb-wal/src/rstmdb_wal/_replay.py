"""Reading a log back: what is a record, what a torn write, what damage. Changes no file.

The rule: let s be the first sequence that cannot be read. A readable record behind it whose
sequence minus durable gap reaches s proves that s had been synced, perhaps acknowledged: damage.
So is anything unreadable in another segment than the last, since rotation syncs a segment before
the next one is made. All else is a torn write, cut back to the start of its batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator

from rstmdb_wal._errors import LogMisused, UnknownFormat
from rstmdb_wal._inspect import Look, Seen
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._proof import Unproven
from rstmdb_wal._reader import to_record
from rstmdb_wal._record import (
    KIND_CHECKPOINT,
    KIND_NOOP,
    KNOWN_FLAGS,
    KNOWN_KINDS,
    UNKNOWN_GAP,
    RawRecord,
    Record,
    crc_seed,
)
from rstmdb_wal._scan import Walker, only_zeros
from rstmdb_wal._search import search
from rstmdb_wal._segment import Segment
from rstmdb_wal._selection import Selection, segment_of
from rstmdb_wal.fs import File


class Replay(Selection):
    """The reading half of ``Recovery``, which documents it."""

    def __iter__(self) -> Iterator[Record]:
        """Yield the records behind ``after`` in order, whole batches only, no no-ops.

        Raises ``LogDamaged``, ``UnknownFormat`` and, when a file cannot be read, ``OSError``.
        """
        with contextlib.closing(self.runs()) as runs:
            for run in runs:
                yield from run

    def runs(self) -> Generator[list[Record], None, None]:
        """Yield the same records in lists of one or more, at most a chunk of 1 MiB or a batch.

        Raises what the iteration raises, after all that could be read. The report counts a list
        as read when it is yielded.
        """
        if self._state != "new":
            raise LogMisused("a recovery is for one use")
        self._state = "reading"
        for seen in self._select():
            file = self._fs.open_read(seen.path)
            try:
                yield from self._segment(seen, file)
            finally:
                with contextlib.suppress(OSError):
                    file.close()
        # Only where the rest of the log was skipped a batch can still be open.
        self.report.skipped_records += len(self._batch)
        self._batch.clear()
        self._state = "read"

    # One segment

    def _segment(self, seen: Seen, file: File) -> Iterator[list[Record]]:
        self._unproven = None
        if seen.look is Look.EMPTY:
            # Of ours, it can only be the last; a missing record before it will show.
            self._torn_header = self._is_last(seen)
            self._drop_open_batch(seen, 0)
            return
        if seen.look is Look.TORN and self._is_last(seen):
            self._torn_header = True
            self.report.torn_bytes = seen.size
            self._drop_open_batch(seen, 0)
            return
        if not self._header_fits(seen):
            self.report.skipped_segments.append(seen.segment_id)
            return
        if not self._follows(seen):
            self._kept.clear()  # a hole that the snapshot covers: nothing before it is shown
        segment = segment_of(seen)
        segment.first_sequence = segment.first_sequence or self._expected
        self._kept.append(segment)
        yield from self._records(seen, segment, file)

    def _header_fits(self, seen: Seen) -> bool:
        """Check that this is the segment that must come here; False to skip it."""
        header = seen.header
        if header is None:
            if seen.look is Look.LEGACY:
                return True
            self._damage(seen, 0, "unreadable segment header", "records lie behind it")
            return self._database_id is not None
        if header.segment_id != seen.segment_id:
            what = f"the file is segment {header.segment_id}, not {seen.segment_id}"
            self._damage(seen, 0, what, "it was swapped, copied or renamed")
            return False
        if header.database_id != self._database_id:
            self._damage(seen, 0, "a segment of another database", "it does not belong here")
            return False
        position = split_offset(self._after)[1] if self._holds_after(seen) else 0
        if not position and header.first_sequence != self._expected:
            if header.first_sequence < self._expected:
                what = f"its records begin at sequence {header.first_sequence} again"
                self._damage(seen, 0, what, "it was swapped, copied or renamed")
                return False
            what = f"records {self._expected} to {header.first_sequence - 1} are missing before it"
            self._damage(seen, 0, what, "a segment is missing, or was cut")
            self._skip_to(header.first_sequence)
        return True

    def _records(self, seen: Seen, segment: Segment, file: File) -> Iterator[list[Record]]:
        """Yield the records of one segment, stepping over what may be stepped over."""
        position = segment.start
        if self._holds_after(seen):
            position = self._behind_snapshot(seen, segment, file)
        # Not even the header is proven: a failed sync may have left it in memory only.
        start = position if position > segment.start else 0
        unproven = self._unproven = Unproven(self._expected, start)
        while True:
            walker = Walker(file, position, seen.size, self._seed(), legacy=segment.legacy)
            while (raw := walker.next()) is not None:
                if not self._accept(seen, raw):
                    walker.position = raw.position
                    break
                if raw.kind == KIND_NOOP:
                    continue
                run = self._take(seen, segment, unproven, raw)
                if run:
                    yield run
                if not self._batch and (run := self._take_plain(segment, unproven, walker)):
                    yield run
            self._end = segment.end = walker.position
            if only_zeros(file, walker.position, seen.size):
                self._drop_open_batch(seen, walker.position)
                return
            step = self._unreadable(seen, file, walker.position, legacy=segment.legacy)
            if step is None:
                return
            position = step

    def _behind_snapshot(self, seen: Seen, segment: Segment, file: File) -> int:
        """Return where the first record behind ``after`` lies; the one there proves the place."""
        position = split_offset(self._after)[1]
        walker = Walker(file, position, seen.size, self._seed(), legacy=segment.legacy)
        raw = next(iter(walker), None)
        if raw is None or raw.sequence != self._expected - 1:
            self._damage(seen, position, "the snapshot's last record is not there", "")
            return segment.start
        return raw.end

    def _seed(self) -> int:
        return crc_seed(self._database_id or b"")

    def _accept(self, seen: Seen, raw: RawRecord) -> bool:
        """Tell whether this is the record that must come here; False: as if unreadable."""
        if raw.flags & ~KNOWN_FLAGS:
            raise UnknownFormat(str(seen.path), raw.position, f"record flags {raw.flags:#x}")
        if raw.kind not in KNOWN_KINDS:
            raise UnknownFormat(str(seen.path), raw.position, f"record type {raw.kind}")
        if raw.kind == KIND_NOOP:
            if raw.sequence == self._expected and seen.look is Look.LEGACY:
                self._expected += 1
            return True
        if self._any_start:
            self._any_start = False
            self._expected = raw.sequence
        if raw.sequence > self._expected:
            what = f"records {self._expected} to {raw.sequence - 1} are missing"
            self._damage(seen, raw.position, what, f"the record there is {raw.sequence}")
            self._skip_to(raw.sequence)
        elif raw.sequence < self._expected and seen.look is Look.LEGACY and not self._skip:
            self._damage(seen, raw.position, f"record {raw.sequence} comes again", "")
        elif raw.sequence < self._expected and self._skip and self.report.damaged_segments:
            return True
        return raw.sequence == self._expected

    def _take(
        self, seen: Seen, segment: Segment, unproven: Unproven, raw: RawRecord
    ) -> list[Record]:
        """Count a record in; return it and the batch that it ends, nothing if more must come."""
        if raw.sequence < self._expected:
            return []  # covered by the snapshot, met again on the way past damage
        report = self.report
        self._expected += 1
        report.bytes += raw.end - raw.position
        segment.mark_next(raw.position)
        if segment.legacy:
            report.legacy_records += 1
        elif raw.gap < UNKNOWN_GAP:
            unproven.prove(raw.sequence - raw.gap)
        unproven.add(raw.sequence, raw.position)
        record = to_record(raw, make_offset(seen.segment_id, raw.position), segment)
        self._batch.append(record)
        if record.more:
            return []
        batch, self._batch = self._batch, []
        if raw.kind == KIND_CHECKPOINT:
            report.checkpoints += 1
        self._count(batch)
        return batch

    def _take_plain(self, segment: Segment, unproven: Unproven, walker: Walker) -> list[Record]:
        """Count in what comes next and needs no second look."""
        start = make_offset(segment.segment_id, 0)
        records, proven = walker.plain(self._expected, start)
        if records:
            self._expected += len(records)
            self.report.bytes += records[-1].end - records[0].offset
            unproven.add_all(records, proven, start)
            segment.mark_all(records)
            self._count(records)
        return records

    def _count(self, run: list[Record]) -> None:
        report, last = self.report, run[-1]
        self._head = report.head = last.offset
        report.last_sequence = last.sequence
        report.records += len(run)

    # What cannot be read

    def _unreadable(self, seen: Seen, file: File, position: int, *, legacy: bool) -> int | None:
        """Decide on bytes that are no record: where to go on, None for the end of the segment.

        Raises ``LogDamaged`` unless they are a torn write, or damage is to be skipped.
        """
        missing = self._expected
        if legacy:
            found = next(search(file, position, seen.size, 0, missing - 1, legacy=True), None)
            if found is not None and found.sequence == missing:
                self.report.skipped_fragments += 1
                return found.position
            if found is not None:
                after = f"record {found.sequence} can be read at byte {found.position}"
                self._damage(seen, position, "unreadable record", after)
                self._skip_to(found.sequence)
                return found.position
            if not self._is_last(seen):
                # Nothing behind it here: the next segment shows whether a record is missing.
                self.report.skipped_fragments += 1
                return None
        else:
            seed = self._seed()
            behind = search(file, position + 1, seen.size, seed, missing, legacy=False)
            if not self._is_last(seen):
                self._damage(seen, position, "unreadable record", "segments follow this one")
                return self._past_damage(next(behind, None))
            for found in behind:
                proves = found.gap < UNKNOWN_GAP and found.sequence - found.gap >= missing
                if proves:
                    after = (
                        f"record {found.sequence} at byte {found.position} proves that it had "
                        f"been synced"
                    )
                    self._damage(seen, position, "unreadable record", after)
                    near = search(file, position + 1, seen.size, seed, missing, legacy=False)
                    return self._past_damage(next(near, None))
        self._tear(seen, position)
        return None

    def _past_damage(self, found: RawRecord | None) -> int | None:
        if found is None:
            self._batch.clear()
            return None
        self._skip_to(found.sequence)
        return found.position

    def _tear(self, seen: Seen, position: int) -> None:
        """Cut the last segment at ``position``, or where the batch that is torn there begins."""
        if self._batch:
            position = split_offset(self._batch[0].offset)[1]
            self._expected = self._batch[0].sequence
            self._batch.clear()
        self._cut = self._end = position
        self._kept[-1].end = position
        self.report.torn_bytes = seen.size - position

    def _drop_open_batch(self, seen: Seen, position: int) -> None:
        """Deal with a batch whose end is missing where a segment ends."""
        if not self._batch:
            return
        if self._is_last(seen) and position:
            self._tear(seen, position)
            return
        # Rotation syncs the segment it closes, and a batch never crosses over.
        self._damage(seen, position, "the end of an atomic batch is missing", "segments follow")
        self.report.skipped_records += len(self._batch)
        self._batch.clear()
