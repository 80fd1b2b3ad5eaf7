"""A write-ahead log of (kind, bytes): checksummed records, segments, group commit, recovery."""

from rstmdb_wal._commit import FlushResult
from rstmdb_wal._errors import (
    BatchTooLarge,
    DirectoryLocked,
    LogDamaged,
    LogError,
    LogFailed,
    LogMisused,
    OffsetCompacted,
    RecordTooLarge,
    UnknownFormat,
)
from rstmdb_wal._log import Log, LogStats
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._options import FsyncPolicy, LogOptions
from rstmdb_wal._record import (
    HEADER_BYTES,
    KIND_APPLY_EVENT,
    KIND_CHECKPOINT,
    KIND_CREATE_INSTANCE,
    KIND_DELETE_INSTANCE,
    KIND_FLUSH_ALL,
    KIND_NOOP,
    KIND_PUT_MACHINE,
    KIND_SNAPSHOT,
    MAX_PAYLOAD_BYTES,
    Record,
)
from rstmdb_wal._recovery import Recovery
from rstmdb_wal._report import RecoveryReport
from rstmdb_wal._segment import highest_segment_id
from rstmdb_wal._writer import Flush

__all__ = [
    "HEADER_BYTES",
    "KIND_APPLY_EVENT",
    "KIND_CHECKPOINT",
    "KIND_CREATE_INSTANCE",
    "KIND_DELETE_INSTANCE",
    "KIND_FLUSH_ALL",
    "KIND_NOOP",
    "KIND_PUT_MACHINE",
    "KIND_SNAPSHOT",
    "MAX_PAYLOAD_BYTES",
    "BatchTooLarge",
    "DirectoryLocked",
    "Flush",
    "FlushResult",
    "FsyncPolicy",
    "Log",
    "LogDamaged",
    "LogError",
    "LogFailed",
    "LogMisused",
    "LogOptions",
    "LogStats",
    "OffsetCompacted",
    "Record",
    "RecordTooLarge",
    "Recovery",
    "RecoveryReport",
    "UnknownFormat",
    "highest_segment_id",
    "make_offset",
    "split_offset",
]
