"""When compaction runs by itself, and how far back it has to leave the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rstmdb_wal import Log

from ._options import StorageOptions
from ._snapshot import Catalog, SnapshotInfo

__all__ = ["Pacing"]

LOOK_EVERY = 16
"""Records between two looks at whether compaction is due, where looking would cost each write."""


class Pacing:
    """The part of a Store that counts what was written since the last snapshot."""

    log: Log
    catalog: Catalog
    options: StorageOptions
    monotonic: Callable[[], int]
    failures: Counter[str]

    def _begin_counting(self, entries: int, size: int) -> None:
        """Count on from what recovery replayed: entries, and bytes of log."""
        self.appended = entries
        """Records since the last full snapshot, checkpoints aside."""
        self.look_at = 1
        """What `appended` must have come to before it is worth asking `compaction_due`."""
        self.hold_back: Callable[[], int | None] = lambda: None
        """The offset behind which somebody still reads the log, or None."""
        self._snapshot_at_bytes = -size
        self._snapshot_at_ms = self.monotonic() - self.options.compaction.min_interval_ms

    def compaction_due(self) -> bool:
        """Whether compaction should run by itself now (CompactionOptions)."""
        options = self.options.compaction
        if not self.appended or not options.enabled:
            return False
        self.look_at = self.appended + LOOK_EVERY
        if self.appended < options.events_threshold < self.look_at:
            self.look_at = options.events_threshold
        written = self.log.bytes_written - self._snapshot_at_bytes
        if self.appended < options.events_threshold and written < options.size_threshold_bytes:
            return False
        if self.monotonic() - self._snapshot_at_ms < options.min_interval_ms:
            return False
        full = self.catalog.full
        return not full or written > full[-1].size_bytes // 2

    def note_snapshot(self, info: SnapshotInfo, appended: int, written: int) -> None:
        """A full snapshot is relied on: what it covers counts no more towards the next."""
        self.appended -= appended
        self.look_at = 1
        self._snapshot_at_bytes = written
        self._snapshot_at_ms = self.monotonic()

    def note_compaction_failed(self) -> None:
        """Count it, and try again after the usual interval, not at once."""
        self.failures["compaction"] += 1
        self.look_at = 1
        self._snapshot_at_ms = self.monotonic()

    def retained_from(self, offset: int) -> int:
        """The offset before which segments may go, given who still reads behind it."""
        held = self.hold_back()
        if held is None or held >= offset:
            return offset
        lag = sum(
            size
            for segment_id, _, size in self.log.segments()
            if held < (segment_id + 1) << 40 <= offset
        )
        return offset if lag > self.options.compaction.max_watch_lag_bytes else held
