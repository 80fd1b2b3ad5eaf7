"""Opening a directory: lock it, recover it, and note what has to be in the log from now on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rstmdb_wal import DirectoryLocked
from rstmdb_wal.fs import FileSystem, OsFileSystem

from ._errors import DatabaseLocked
from ._follow import Progress
from ._layout import Layout
from ._memory import MemoryFileSystem
from ._options import StorageOptions
from ._recovery import recover
from ._store import Store

__all__ = ["open_store"]

logger = logging.getLogger("rstmdb.storage")

MEMORY = ":memory:"


def open_store(
    path: str | Path,
    options: StorageOptions,
    *,
    fs: FileSystem | None,
    clock: Callable[[], int],
    monotonic: Callable[[], int],
    new_id: Callable[[], str],
    keep_limits: bool = False,
    progress: Progress | None = None,
) -> tuple[Store, Callable[[], None]]:
    """Open or create a database; the store, and what gives the directory up again.

    `keep_limits` leaves those in force that the directory has, whatever the options say;
    `progress` hears how far the log is read.

    Raises DatabaseLocked, DatabaseDamaged, WriteFailed and OSError.
    """
    if path == MEMORY:
        fs = MemoryFileSystem()
        path = "/memory"
    fs = fs or OsFileSystem()
    layout = Layout(Path(path))
    _make_folders(fs, layout)
    try:
        lock = fs.lock(layout.lock)
    except DirectoryLocked as error:
        raise DatabaseLocked(
            f"{layout.root} is in use: {error}; stop that process, or use another directory"
        ) from error
    try:
        recovered = recover(fs, layout, options, progress)
        recovered.state.start_journal()
        if keep_limits:
            options = replace(options, limits=recovered.state.limits)
        store = Store(
            recovered, fs, layout, options, clock=clock, monotonic=monotonic, new_id=new_id
        )
        store.note_start()
        if recovered.report.damaged_segments:
            _settle_damage(store)
    except BaseException:
        with contextlib.suppress(OSError):
            lock.release()
        raise
    return store, lock.release


def _make_folders(fs: FileSystem, layout: Layout) -> None:
    """Make what is missing, and make sure that the names are on disk.

    Also those that were there: an earlier start may have crashed before it could sync them.
    """
    missing = []
    folder = layout.root
    while not fs.exists(folder):
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        fs.mkdir(folder)
        fs.fsync_dir(folder.parent)
    for folder in (layout.wal, layout.snapshots):
        if not fs.exists(folder):
            fs.mkdir(folder)
    fs.fsync_dir(layout.root)
    if not missing:
        # The parent may be closed to us, or be no folder of ours: then it is the user's.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            fs.fsync_dir(layout.root.parent)


def _settle_damage(store: Store) -> None:
    """After damage was passed over: take a snapshot, then move the damaged segments aside.

    So the next start is clean. Raises SnapshotFailed, WriteFailed and OSError.
    """
    report = store.recovered.report
    store.run(store.snapshot())
    for segment_id in sorted(set(report.damaged_segments)):
        name = store.log.move_aside(segment_id)
        logger.error("damaged segment %d was moved aside to %s", segment_id, name)
    logger.error("%d records were given up as damaged", report.skipped_records)
