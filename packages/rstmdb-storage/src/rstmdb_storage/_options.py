"""What an embedded database can be told when it is opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from rstmdb_core import EngineOptions, Limits
from rstmdb_wal import LogOptions

__all__ = ["CompactionOptions", "StorageOptions"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CompactionOptions:
    """When compaction runs by itself.

    It runs once `events_threshold` records or `size_threshold_bytes` bytes were written
    since the last snapshot, at most every `min_interval_ms`, and only when the log since
    that snapshot is larger than half of it, so that its cost stays in proportion.
    """

    enabled: bool = True
    events_threshold: int = 10_000
    size_threshold_bytes: int = 100 * _MIB
    min_interval_ms: int = 60_000
    max_watch_lag_bytes: int = 1024 * _MIB


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """All settings of an embedded database; each has the server's default."""

    log: LogOptions = field(default_factory=LogOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    limits: Limits = field(default_factory=Limits)
    compaction: CompactionOptions = field(default_factory=CompactionOptions)
