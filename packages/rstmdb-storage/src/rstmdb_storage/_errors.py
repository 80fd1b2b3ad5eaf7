"""Exceptions of the embedded database.

The tree (refusals of single commands are rstmdb_core.Rejection and its subclasses):

    StorageError
    ├── DatabaseClosed        the database was closed
    ├── DatabaseLocked        another process owns the directory
    ├── DatabaseDamaged       the directory can't be opened without losing what it may hold
    │   └── NewerFormat       it was written by a newer release
    ├── WriteFailed           the log could not take a write; nothing was acknowledged
    ├── WaitTimeout           a state was not reached in time (a TimeoutError, too)
    ├── OffsetGone            an offset below the oldest record that is kept
    ├── SnapshotFailed        a snapshot could not be written or did not verify
    ├── BackupFailed          a backup could not be written or did not verify
    ├── InvalidBackupTarget   a backup's name is not acceptable, or its place is taken
    ├── RestoreFailed         a backup can't be restored as it was asked
    └── BatchAborted          an atomic batch was refused as a whole
"""

from __future__ import annotations

__all__ = [
    "BackupFailed",
    "BatchAborted",
    "DatabaseClosed",
    "DatabaseDamaged",
    "DatabaseLocked",
    "InvalidBackupTarget",
    "NewerFormat",
    "OffsetGone",
    "RestoreFailed",
    "SnapshotFailed",
    "StorageError",
    "WaitTimeout",
    "WriteFailed",
]


class StorageError(Exception):
    """Root of this package's exceptions."""


class DatabaseClosed(StorageError):
    """The database was closed."""


class DatabaseLocked(StorageError):
    """Another process owns the directory; the message names it."""


class DatabaseDamaged(StorageError):
    """The directory can't be opened; the message says what was found, where, and what to do."""


class NewerFormat(DatabaseDamaged):
    """A snapshot or index of a newer release: no damage, and never passed over."""


class WriteFailed(StorageError):
    """The log could not take a write.

    `final` tells a full disk, after which writes are taken again as soon as one succeeds,
    from a failure after which only a restart may write.
    """

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class WaitTimeout(StorageError, TimeoutError):
    """A state was not reached in time; `state` is what the instance was in when last seen."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class OffsetGone(StorageError):
    """An offset below the oldest record kept; `earliest_offset` is where reading can begin."""

    def __init__(self, offset: int, earliest_offset: int) -> None:
        super().__init__(
            f"offset {offset} was compacted away; the oldest kept is {earliest_offset}"
        )
        self.offset = offset
        self.earliest_offset = earliest_offset


class SnapshotFailed(StorageError):
    """A snapshot could not be written or did not verify; nothing relies on it."""


class BackupFailed(StorageError):
    """A backup could not be written or did not verify."""


class InvalidBackupTarget(StorageError):
    """A backup's name is no plain file name, or a backup of that name exists."""


class RestoreFailed(StorageError):
    """A backup does not reach back to where it was to be restored, or did not verify."""


class BatchAborted(StorageError):
    """One command of an atomic batch was refused, so nothing was changed.

    `index` counts from 0; `cause` is the refusal of that command.
    """

    def __init__(self, index: int, cause: Exception) -> None:
        super().__init__(f"command {index} of the batch was refused: {cause}")
        self.index = index
        self.cause = cause

    @property
    def depends_on(self) -> int:
        """The offset that must be released before this may be told; 0 for none."""
        offset: int = getattr(self.cause, "depends_on", 0)
        return offset
