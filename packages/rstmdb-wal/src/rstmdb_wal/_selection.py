"""Which segments a replay reads, which it only keeps, and what it makes of damage."""

from __future__ import annotations

from pathlib import Path

from rstmdb_wal._errors import LogDamaged
from rstmdb_wal._inspect import Look, Seen, look_at_all
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._options import LogOptions
from rstmdb_wal._proof import Unproven
from rstmdb_wal._record import Record
from rstmdb_wal._report import RecoveryReport
from rstmdb_wal._segment import Segment
from rstmdb_wal.fs import FileSystem


class Selection:
    """What ``Replay`` knows before it reads a record, and where it stands."""

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
        self._unproven: Unproven | None = None  # of a segment that was skipped: None
        self._state = "new"
        self.report = RecoveryReport(last_sequence=after_sequence, head=after)

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
                self._kept.append(segment_of(seen))
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

    def _holds_after(self, seen: Seen) -> bool:
        return bool(self._after) and seen.segment_id == split_offset(self._after)[0]

    # What cannot be read

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


def segment_of(seen: Seen) -> Segment:
    previous = seen.header.previous_offset if seen.header is not None else 0
    legacy = seen.look is Look.LEGACY
    return Segment(seen.segment_id, seen.path, seen.size, seen.first_sequence, previous, legacy)
