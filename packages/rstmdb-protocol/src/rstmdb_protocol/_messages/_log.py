"""Log, snapshot and maintenance operations."""

from __future__ import annotations

from ._types import Count, JsonObject, Message, Offset

__all__ = [
    "BackupParams",
    "BackupResult",
    "CompactParams",
    "CompactResult",
    "FlushAllResult",
    "IoStats",
    "SnapshotInstanceParams",
    "SnapshotInstanceResult",
    "WalReadParams",
    "WalReadResult",
    "WalRecord",
    "WalStatsResult",
]


class WalReadParams(Message, frozen=True):
    """Read released records at or after an offset; 0 is the oldest kept."""

    from_offset: Offset
    limit: Count | None = None


class WalRecord(Message, frozen=True):
    """One log record; `entry` has the fields of docs/reference/wire-protocol, "Entries"."""

    sequence: int
    offset: int
    entry: JsonObject


class WalReadResult(Message, frozen=True):
    """A page; `next_offset` is where the next page begins."""

    records: list[WalRecord]
    next_offset: int


class IoStats(Message, frozen=True):
    """Counters since the start."""

    bytes_written: int
    bytes_read: int
    writes: int
    reads: int
    fsyncs: int


class WalStatsResult(Message, frozen=True):
    """Size and position of the log; `latest_offset` is the head."""

    entry_count: int
    segment_count: int
    total_size_bytes: int
    latest_offset: int
    io_stats: IoStats
    earliest_offset: int | None = None
    durable_offset: int | None = None


class SnapshotInstanceParams(Message, frozen=True):
    """The instance to write out."""

    instance_id: str


class SnapshotInstanceResult(Message, frozen=True):
    """Where the snapshot stands; `checksum` is the CRC32C of its file in hex."""

    instance_id: str
    snapshot_id: str
    wal_offset: int
    size_bytes: int
    checksum: str


class CompactParams(Message, frozen=True):
    """`force_snapshot`: take one even if nothing was written since the last."""

    force_snapshot: bool | None = None


class CompactResult(Message, frozen=True):
    """What was done; `bytes_reclaimed` is measured."""

    snapshots_created: int
    segments_deleted: int
    bytes_reclaimed: int
    total_snapshots: int
    wal_segments: int


class BackupParams(Message, frozen=True):
    """A name below the server's backup directory; one is made from the time when absent."""

    name: str | None = None


class BackupResult(Message, frozen=True):
    """The finished, verified copy."""

    name: str
    wal_offset: int
    files: int
    bytes: int


class FlushAllResult(Message, frozen=True):
    """How much was removed."""

    flushed: bool
    instances_removed: int
    machines_removed: int
