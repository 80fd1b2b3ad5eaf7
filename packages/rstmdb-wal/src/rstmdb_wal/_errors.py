"""The exceptions of this package.

LogError
├── LogDamaged        the files cannot be a torn write: start-up is refused
├── UnknownFormat     written by a newer release
├── LogFailed         a write or a sync failed for good; nothing is written from then on
├── LogMisused        calls in an order that the log does not allow
├── RecordTooLarge    a payload above MAX_PAYLOAD_BYTES
├── BatchTooLarge     an atomic batch does not fit what is left of the segment
├── OffsetCompacted   a read below the oldest kept record
└── DirectoryLocked   another process owns the directory

A failed read or write of a file outside of a flush stays an ``OSError``.
"""

from __future__ import annotations


class LogError(Exception):
    """The root of what this package raises."""


class LogDamaged(LogError):
    """A part of the log that had been synced cannot be read, or is not there.

    ``path`` is the file, ``offset`` the log offset of the first byte that cannot be read,
    ``sequence`` the first sequence that is missing.
    """

    def __init__(self, path: str, offset: int, sequence: int, what: str, after: str) -> None:
        self.path = path
        self.offset = offset
        self.sequence = sequence
        self.what = what
        self.after = after
        super().__init__(
            f"{path}: {what} at offset {offset} (byte {offset & 0xFF_FFFF_FFFF}), "
            f"sequence {sequence}; {after}. Look at it with `rstmdb-cli verify DIR`; restore a "
            f"backup, or give up what is damaged with `rstmdb-cli repair DIR` or "
            f"`storage.recovery: skip_corrupt`"
        )


class UnknownFormat(LogError):
    """A file, record type, flag or format version of a newer release."""

    def __init__(self, path: str, position: int, what: str) -> None:
        self.path = path
        self.position = position
        super().__init__(f"{path}: {what} at byte {position}: written by a newer release")


class LogFailed(LogError):
    """The log failed for good; ``__cause__`` is the first error."""


class LogMisused(LogError):
    """The caller broke the order of calls (a flush within a batch, two flushes at once, ...)."""


class RecordTooLarge(LogError):
    """The payload is above ``MAX_PAYLOAD_BYTES``."""


class BatchTooLarge(LogError):
    """The atomic batch overflows the segment: abort it, rotate, stage it again."""


class OffsetCompacted(LogError):
    """What was asked for lies before the oldest kept record; ``earliest`` is where that begins."""

    def __init__(self, earliest: int) -> None:
        self.earliest = earliest
        super().__init__(f"the log is kept from offset {earliest} on")


class DirectoryLocked(LogError):
    """Another process holds the lock file ``path``; ``holder`` is its pid, None if unknown."""

    def __init__(self, path: str, holder: int | None) -> None:
        self.path = path
        self.holder = holder
        who = "another process" if holder is None else f"process {holder}"
        super().__init__(f"{path} is held by {who}; a directory has one owner at a time")
