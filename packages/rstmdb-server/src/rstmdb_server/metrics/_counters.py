"""Counters as plain integers and dict slots: an increment costs 30 ns and no library call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

from rstmdb_protocol import OPERATIONS, ErrorCode

__all__ = ["Gauges", "Histogram", "Metrics"]

SUBSCRIPTION_TYPES = ("instance", "all")

REQUEST_BOUNDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""Seconds: from a read in memory to a write on a disk that stalls."""
FSYNC_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
COMMIT_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Records."""
WORK_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds that snapshots and compactions take."""
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Histogram:
    """Observations sorted into fixed buckets; `bounds` are their upper ends, rising."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Observations by bucket, not cumulative; the last is for what is above all bounds."""
        self.total = 0.0
        """The sum of what was observed."""

    def observe(self, value: float, count: int = 1) -> None:
        """Count `value`, or `count` observations of it at once."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)


class Metrics:
    """What happens on the hot path, for the sessions and the committer to count up."""

    def __init__(self) -> None:
        self.connections_total = 0
        self.connections_active = 0
        self.errors: dict[str, int] = dict.fromkeys((code.value for code in ErrorCode), 0)
        """By code, as text."""
        self.request_duration = {name: Histogram(REQUEST_BOUNDS) for name in OPERATIONS}
        """Seconds by operation; with their count, they tell the requests handled as well."""
        self.subscriptions_active: dict[str, int] = dict.fromkeys(SUBSCRIPTION_TYPES, 0)
        self.events_forwarded: dict[str, int] = dict.fromkeys(SUBSCRIPTION_TYPES, 0)
        self.fsync_duration = Histogram(FSYNC_BOUNDS)
        """Seconds."""
        self.commit_records = Histogram(COMMIT_BOUNDS)
        """Records that one commit made durable."""
        self.snapshot_duration = Histogram(WORK_BOUNDS)
        """Seconds."""
        self.compaction_duration = Histogram(WORK_BOUNDS)
        """Seconds."""
        self.event_loop_lag = Histogram(LAG_BOUNDS)
        """Seconds by which a timer of the event loop came late."""
        self.recovery_seconds = 0.0


class Gauges(Struct, frozen=True, kw_only=True):
    """What is read only when someone scrapes: sizes as they are, counters of the log's own."""

    instances: int = 0
    machines: int = 0
    wal_entries: int = 0
    wal_segments: int = 0
    wal_size_bytes: int = 0
    wal_bytes_written: int = 0
    wal_bytes_read: int = 0
    wal_writes: int = 0
    wal_reads: int = 0
    wal_fsyncs: int = 0
    skipped_records: int = 0
    """Damaged records that recovery left out."""
    ignored_entries: int = 0
    """Entries of the log that made no sense and changed nothing."""
    maintenance_failures: dict[str, int] = {}
    """Snapshots, compactions and backups that failed, by what it was."""
    watcher_lag_bytes: int = 0
    """Bytes of log between its end and the subscription that is furthest behind."""
