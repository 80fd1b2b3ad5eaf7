"""Reading a log back: what is a record, what a torn write, what damage. Changes no file.

The rule: let s be the first sequence that cannot be read. A readable record behind it whose
sequence minus durable gap reaches s proves that s had been synced, perhaps acknowledged: damage.
So is anything unreadable in another segment than the last, since rotation syncs a segment before
the next one is made. All else is a torn write, cut back to the start of its batch.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rstmdb_wal._errors import LogDamaged, LogMisused, UnknownFormat
from rstmdb_wal._inspect import Look, Seen, look_at_all
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._options import LogOptions
from rstmdb_wal._reader import to_record
from rstmdb_wal._record import (
    KIND_NOOP,
    KNOWN_FLAGS,
    KNOWN_KINDS,
    UNKNOWN_GAP,
    RawRecord,
    Record,
    crc_seed,
)
from rstmdb_wal._report import RecoveryReport
from rstmdb_wal._scan import Walker, only_zeros, search
from rstmdb_wal._segment import MARK_BYTES, Segment
from rstmdb_wal.fs import File, FileSystem

_PROOF_STEP_BYTES = 4096  # granularity with which the unproven tail is known


class Replay:
    """The reading half of ``Recovery``, which documents it."""

    def __init__(
        self,
        directory: Path,
        fs: FileSystem,
        options: LogOptions,
        after: int,
        after_sequence: int,
        database_id: bytes | None,
    ) -> None:
        self._directory = directory
        self._fs = fs
        self._options = options
        self._after = after
        self._database_id = database_id
        self._skip = options.recovery == "skip_corrupt"
        self._expected = after_sequence + 1
        self._any_start = False  # the original may have deleted what came before its first
        self._batch: list[Record] = []
        self._kept: list[Segment] = []
        self._names: list[str] = []
        self._last: Seen | None = None
        self._head = after
        self._cut: int | None = None
        self._torn_header = False
        self._end = 0  # of the last segment's records
        self._unproven: deque[tuple[int, int]] = deque()
        self._state = "new"
        self.report = RecoveryReport(last_sequence=after_sequence, head=after)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records behind ``after`` in order, whole batches only, no no-ops.

        Raises ``LogDamaged``, ``UnknownFormat`` and, when a file cannot be read, ``OSError``.
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

    # Which segments

    def _select(self) -> list[Seen]:
        """Look at all segments; return those to be read, note those kept."""
        if self._fs.exists(self._directory):
            self._names = self._fs.listdir(self._directory)
        found = look_at_all(self._fs, self._directory, self._names)
        self.report.segments = len(found)
        if self._database_id is None:
            ours = (seen.header.database_id for seen in found if seen.header is not None)
            self._database_id = next(ours, None)
        first = split_offset(self._after)[0]
        needed = [seen for seen in found if seen.segment_id >= first]
        self._keep_covered([seen for seen in found if seen.segment_id < first])
        if found:
            self._last = found[-1]
        if not needed:
            if found:
                self._damage(found[-1], found[-1].size, "the segments behind it are missing", "")
            return []
        looks = (seen.look for seen in needed if seen.look is not Look.EMPTY)
        begins_legacy = next(looks, None) is Look.LEGACY
        self._any_start = begins_legacy and self._after == 0 and self._expected == 1
        self.report.total_bytes = sum(seen.size for seen in needed)
        return needed

    def _keep_covered(self, covered: list[Seen]) -> None:
        """Keep what can still be read of the segments before the snapshot, without a hole."""
        for seen in covered:
            usable = seen.look is Look.LEGACY or (
                seen.header is not None
                and seen.header.segment_id == seen.segment_id
                and seen.header.database_id == self._database_id
            )
            if not self._follows(seen):
                self._kept.clear()
            if usable:
                self._kept.append(_segment_of(seen))
            elif seen.look is not Look.EMPTY:
                self._kept.clear()
                self.report.unreadable_segments.append(seen.segment_id)

    def _follows(self, seen: Seen) -> bool:
        """Tell whether no record is missing between the kept segments and this one.

        Ids alone do not say so: one may be skipped when a segment that was just made is lost.
        """
        if not self._kept:
            return True
        if seen.header is None:
            return self._kept[-1].segment_id + 1 == seen.segment_id
        before = split_offset(seen.header.previous_offset)[0]
        return not before or any(kept.segment_id == before for kept in self._kept)

    def _is_last(self, seen: Seen) -> bool:
        return self._last is not None and seen.segment_id == self._last.segment_id

    # One segment

    def _segment(self, seen: Seen, file: File) -> Iterator[Record]:
        self._unproven.clear()
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
        segment = _segment_of(seen)
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

    def _holds_after(self, seen: Seen) -> bool:
        return bool(self._after) and seen.segment_id == split_offset(self._after)[0]

    def _records(self, seen: Seen, segment: Segment, file: File) -> Iterator[Record]:
        """Yield the records of one segment, stepping over what may be stepped over."""
        position = segment.start
        if self._holds_after(seen):
            position = self._behind_snapshot(seen, segment, file)
        # Not even the header is proven: a failed sync may have left it in memory only.
        start = position if position > segment.start else 0
        self._unproven = deque([(self._expected, start)])
        while True:
            walker = Walker(file, position, seen.size, self._seed(), legacy=segment.legacy)
            for raw in walker:
                if not self._accept(seen, raw):
                    walker.position = raw.position
                    break
                if raw.kind == KIND_NOOP:
                    continue
                record = self._take(seen, segment, raw)
                if record is not None:
                    if self._batch:
                        yield from self._batch
                        self._batch.clear()
                    yield record
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

    def _take(self, seen: Seen, segment: Segment, raw: RawRecord) -> Record | None:
        """Count a record in; return it unless more of its batch must come first.

        The batch before it is in `_batch` then, to be shown first. A plain function, since it
        runs for every record: a generator each costs a tenth of a recovery.
        """
        if raw.sequence < self._expected:
            return None  # covered by the snapshot, met again on the way past damage
        offset = make_offset(seen.segment_id, raw.position)
        report = self.report
        self._expected += 1
        report.bytes += raw.end - raw.position
        if raw.position - (segment.marks[-1] if segment.marks else 0) >= MARK_BYTES:
            segment.marks.append(raw.position)
        if segment.legacy:
            report.legacy_records += 1
        elif raw.gap < UNKNOWN_GAP:
            self._prove(raw.sequence - raw.gap)
        if raw.position - self._unproven[-1][1] >= _PROOF_STEP_BYTES:
            self._unproven.append((raw.sequence, raw.position))
        record = to_record(raw, offset, segment)
        if record.more:
            self._batch.append(record)
            return None
        self._head = report.head = offset
        report.last_sequence = raw.sequence
        report.records += 1 + len(self._batch)
        return record

    def _prove(self, sequence: int) -> None:
        """Note that all up to ``sequence`` was synced: the steps that end before it are proven."""
        unproven = self._unproven
        while len(unproven) > 1 and unproven[1][0] <= sequence + 1:
            unproven.popleft()

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

    def _damage(self, seen: Seen, position: int, what: str, after: str) -> None:
        """Refuse the log; or, if damage is to be skipped, note that it is there."""
        if not self._skip:
            raise LogDamaged(
                str(seen.path),
                make_offset(seen.segment_id, position),
                self._expected,
                what,
                after or "nothing can be read behind it",
            )
        if seen.segment_id not in self.report.damaged_segments:
            self.report.damaged_segments.append(seen.segment_id)

    def _skip_to(self, sequence: int) -> None:
        """Go on at ``sequence``; an atomic batch that is cut by the gap is left out whole."""
        self.report.skipped_records += sequence - self._expected + len(self._batch)
        self._batch.clear()
        self._expected = sequence


def _segment_of(seen: Seen) -> Segment:
    previous = seen.header.previous_offset if seen.header is not None else 0
    legacy = seen.look is Look.LEGACY
    return Segment(seen.segment_id, seen.path, seen.size, seen.first_sequence, previous, legacy)
