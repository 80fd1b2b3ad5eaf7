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
from rstmdb_wal import FsyncPolicy, LogFailed, LogOptions

from ._batch import Batch
from ._database import Database
from ._errors import (
    BackupFailed,
    BatchAborted,
    DatabaseClosed,
    DatabaseDamaged,
    DatabaseLocked,
    InvalidBackupTarget,
    OffsetGone,
    SnapshotFailed,
    StorageError,
    WriteFailed,
)
from ._open import open_store
from ._options import CompactionOptions, StorageOptions
from ._procedure import Durable, Procedure
from ._results import (
    BackupResult,
    CompactResult,
    FlushAllResult,
    IoStats,
    SnapshotInstanceResult,
    WalReadResult,
    WalRecord,
    WalStatsResult,
)
from ._store import Answer, Feed, Store
from ._views import ApplyResult, InstanceView, MachineView, WatchEvent
from ._watch import Watch
