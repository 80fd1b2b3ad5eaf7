"""What all tools share: the lock, and following a log from one of its possible beginnings."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator, Iterator
from typing import Any

from rstmdb_storage._errors import DatabaseDamaged, DatabaseLocked
from rstmdb_storage._follow import PROGRESS_EVERY_BYTES, Progress
from rstmdb_storage._layout import Layout
from rstmdb_storage._starts import Start, recovery_from
from rstmdb_wal import DirectoryLocked, LogDamaged, LogOptions, Recovery
from rstmdb_wal import Record as LogRecord
from rstmdb_wal.fs import FileSystem

__all__ = ["Passes", "Progress", "held", "oldest_first", "records_of", "recovery_of", "watched"]

_CANNOT_LOCK = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class Passes:
    """One progress over a log that is read several times: `planned` of them, or more.

    Every pass counts all bytes that there are, so that what was told never falls; a pass that
    was not planned raises the total.
    """

    def __init__(self, progress: Progress | None, planned: int) -> None:
        self._progress = progress
        self._planned = planned
        self._done = 0
        self._before = 0
        self._told = 0

    def next(self) -> Progress | None:
        """Begin a pass; return what is to be told of it."""
        if self._progress is None:
            return None
        self._before += self._told
        self._told = 0
        self._done += 1
        self._planned = max(self._planned, self._done)
        return self._tell

    def _tell(self, done: int, total: int) -> None:
        self._told = max(self._told, done)  # a pass may begin again from an older snapshot
        left = self._planned - self._done
        if self._progress is not None:
            self._progress(self._before + self._told, self._before + (left + 1) * total)


@contextlib.contextmanager
def held(fs: FileSystem, layout: Layout, *, reading: bool) -> Iterator[None]:
    """Hold the directory's lock; where one only reads, a read-only directory needs none.

    Raises DatabaseLocked, DatabaseDamaged where there is no database, and OSError.
    """
    if not fs.exists(layout.wal) and not fs.exists(layout.snapshots):
        raise DatabaseDamaged(f"{layout.root}: there is no database here")
    lock = None
    try:
        lock = fs.lock(layout.lock)
    except DirectoryLocked as error:
        raise DatabaseLocked(f"{layout.root} is in use: {error}; stop that process") from error
    except OSError as error:
        if not reading or error.errno not in _CANNOT_LOCK:
            raise
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def recovery_of(fs: FileSystem, layout: Layout, start: Start, *, skip: bool = False) -> Recovery:
    """A recovery that reads the log behind a start."""
    options = LogOptions(recovery="skip_corrupt" if skip else "strict")
    return recovery_from(fs, layout, options, start)


def records_of(recovery: Recovery) -> contextlib.closing[Generator[LogRecord, None, None]]:
    """The records, in a context that closes the files where the reading is given up."""
    records: Any = iter(recovery)
    return contextlib.closing(records)


def watched(recovery: Recovery, progress: Progress | None) -> Generator[LogRecord, None, None]:
    """The records of a recovery, telling how far it came."""
    report = recovery.report
    told = 0
    with records_of(recovery) as records:
        for record in records:
            yield record
            if progress is not None and report.bytes - told >= PROGRESS_EVERY_BYTES:
                told = report.bytes
                progress(told, report.total_bytes)
    if progress is not None:
        progress(report.total_bytes, report.total_bytes)


def oldest_first(fs: FileSystem, layout: Layout, found: list[Start]) -> Start:
    """Of the starts (newest first, the log alone last) the oldest that the log reaches back to.

    Where it reaches back to none, the newest.
    """
    for start in reversed(found):
        try:
            with records_of(recovery_of(fs, layout, start)) as records:
                next(records, None)
        except LogDamaged:
            continue
        return start
    return found[0]
