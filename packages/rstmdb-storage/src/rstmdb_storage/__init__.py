"""The embedded rstmdb database: engine, log, snapshots, compaction and backup in one process."""

from rstmdb_core import (
    Conflict,
    EngineOptions,
    GuardFailed,
    InstanceExists,
    InstanceNotFound,
    InvalidRequest,
    InvalidTransition,
    Limits,
    MachineNotFound,
    MachineVersionExists,
    MachineVersionLimitExceeded,
    Rejection,
)
from rstmdb_wal import FsyncPolicy, LogFailed, LogOptions, split_offset

from ._batch import Batch
from ._commands import Answer
from ._database import Database
from ._errors import (
    BackupFailed,
    BatchAborted,
    DatabaseClosed,
    DatabaseDamaged,
    DatabaseLocked,
    InvalidBackupTarget,
    NewerFormat,
    OffsetGone,
    RestoreFailed,
    SnapshotFailed,
    StorageError,
    WaitTimeout,
    WriteFailed,
)
from ._open import open_store
from ._options import CompactionOptions, StorageOptions
from ._procedure import Durable, Procedure
from ._results import (
    BackupResult,
    CompactResult,
    IoStats,
    SnapshotInstanceResult,
    SnapshotResult,
    WalReadResult,
    WalRecord,
    WalStatsResult,
)
from ._store import Feed, Store
from ._views import ApplyResult, InstanceView, MachineView, WatchEvent
from ._wait import Reached
from ._watch import Watch

__all__ = [
    "Answer",
    "ApplyResult",
    "BackupFailed",
    "BackupResult",
    "Batch",
    "BatchAborted",
    "CompactResult",
    "CompactionOptions",
    "Conflict",
    "Database",
    "DatabaseClosed",
    "DatabaseDamaged",
    "DatabaseLocked",
    "Durable",
    "EngineOptions",
    "Feed",
    "FsyncPolicy",
    "GuardFailed",
    "InstanceExists",
    "InstanceNotFound",
    "InstanceView",
    "InvalidBackupTarget",
    "InvalidRequest",
    "InvalidTransition",
    "IoStats",
    "Limits",
    "LogFailed",
    "LogOptions",
    "MachineNotFound",
    "MachineVersionExists",
    "MachineVersionLimitExceeded",
    "MachineView",
    "NewerFormat",
    "OffsetGone",
    "Procedure",
    "Reached",
    "Rejection",
    "RestoreFailed",
    "SnapshotFailed",
    "SnapshotInstanceResult",
    "SnapshotResult",
    "StorageError",
    "StorageOptions",
    "Store",
    "WaitTimeout",
    "WalReadResult",
    "WalRecord",
    "WalStatsResult",
    "Watch",
    "WatchEvent",
    "WriteFailed",
    "open_store",
    "split_offset",
]
