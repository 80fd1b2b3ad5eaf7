"""Results of the operations that are storage's own; those of commands are in rstmdb_core."""

from __future__ import annotations

from msgspec import Raw, Struct

__all__ = [
    "BackupResult",
    "CompactResult",
    "IoStats",
    "SnapshotInstanceResult",
    "SnapshotResult",
    "WalReadResult",
    "WalRecord",
    "WalStatsResult",
]


class WalRecord(Struct, frozen=True):
    """One record; `entry` is its JSON object."""

    sequence: int
    offset: int
    entry: Raw


class WalReadResult(Struct, frozen=True):
    """A page of records, and where the next page begins."""

    records: list[WalRecord]
    next_offset: int


class IoStats(Struct, frozen=True):
    """Counters since the start."""

    bytes_written: int
    bytes_read: int
    writes: int
    reads: int
    fsyncs: int


class WalStatsResult(Struct, frozen=True):
    """Size and position of the log."""

    entry_count: int
    segment_count: int
    total_size_bytes: int
    latest_offset: int
    io_stats: IoStats
    earliest_offset: int
    durable_offset: int


class SnapshotInstanceResult(Struct, frozen=True):
    """Where an instance's snapshot stands; `checksum` is the CRC32C of the file in hex."""

    instance_id: str
    snapshot_id: str
    wal_offset: int
    size_bytes: int
    checksum: str


class SnapshotResult(Struct, frozen=True):
    """A snapshot of the whole state right after the record at `wal_offset`."""

    snapshot_id: str
    wal_offset: int
    size_bytes: int
    checksum: str


class CompactResult(Struct, frozen=True):
    """What a compaction did; `bytes_reclaimed` is measured."""

    snapshots_created: int
    segments_deleted: int
    bytes_reclaimed: int
    total_snapshots: int
    wal_segments: int


class BackupResult(Struct, frozen=True):
    """A finished, verified backup."""

    name: str
    wal_offset: int
    files: int
    bytes: int
