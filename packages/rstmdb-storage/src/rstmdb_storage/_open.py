"""Opening a directory: lock it, recover it, and note what has to be in the log from now on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from rstmdb_wal import DirectoryLocked
from rstmdb_wal.fs import FileSystem, OsFileSystem

from ._errors import DatabaseLocked
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
) -> tuple[Store, Callable[[], None]]:
    """Open or create a database; the store, and what gives the directory up again.

    Raises DatabaseLocked, DatabaseDamaged, WriteFailed and OSError.
    """
    if path == MEMORY:
        fs = MemoryFileSystem()
        path = "/memory"
    fs = fs or OsFileSystem()
    layout = Layout(Path(path))
    for folder in (*reversed(_missing(fs, layout.root)), layout.wal, layout.snapshots):
        if not fs.exists(folder):
            fs.mkdir(folder)
            fs.fsync_dir(folder.parent)
    try:
        lock = fs.lock(layout.lock)
    except DirectoryLocked as error:
        raise DatabaseLocked(
            f"{layout.root} is in use: {error}; stop that process, or use another directory"
        ) from error
    try:
        recovered = recover(fs, layout, options)
        recovered.state.start_journal()
        store = Store(
            recovered, fs, layout, options, clock=clock, monotonic=monotonic, new_id=new_id
        )
        store.note_start()
    except BaseException:
        with contextlib.suppress(OSError):
            lock.release()
        raise
    return store, lock.release


def _missing(fs: FileSystem, root: Path) -> list[Path]:
    """The folders from `root` upwards that do not exist yet."""
    missing = []
    folder = root
    while not fs.exists(folder):
        missing.append(folder)
        folder = folder.parent
    return missing
