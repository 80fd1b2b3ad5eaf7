"""A consistent copy of a database while it serves, as a procedure (see `_procedure`)."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rstmdb_wal import LogFailed, split_offset
from rstmdb_wal.fs import FileSystem, OsFileSystem, copy_range

from ._errors import BackupFailed, InvalidBackupTarget, StorageError, WriteFailed
from ._layout import Layout
from ._maintenance import take_snapshot
from ._memory import MemoryFileSystem
from ._procedure import Durable, Procedure
from ._recovery import read_directory
from ._results import BackupResult
from ._snapshot import Catalog, SnapshotInfo

if TYPE_CHECKING:
    from ._store import Store

__all__ = ["backup"]

_BACKUP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def backup(store: Store, directory: Path, name: str) -> Procedure:
    """Copy the newest snapshot and the log behind it to directory/name; returns BackupResult.

    The active segment is sealed, so that what is copied never changes again. The copy has a
    temporary name until it was verified; it is a data directory that opens as it is. One of
    a database in memory is on disk all the same.
    Raises InvalidBackupTarget for a name that is no plain file name or is taken, BackupFailed
    and WriteFailed.
    """
    if not _BACKUP_NAME.fullmatch(name):
        raise InvalidBackupTarget(
            f"name: {name!r:.140} is no backup name; use letters, digits, '.', '_' and '-'"
        )
    in_memory = isinstance(store.fs, MemoryFileSystem)
    target_fs: FileSystem = OsFileSystem() if in_memory else store.fs
    target = directory / name
    if target_fs.exists(target):
        raise InvalidBackupTarget(f"name: a backup {name!r} exists already")
    if store.catalog.legacy:
        yield from take_snapshot(store)  # the original's are not worth keeping twice
    head = store.log.head
    try:
        store.log.rotate()
    except LogFailed as error:
        raise WriteFailed(str(error), final=True) from error
    yield Durable(head)
    full = store.catalog.full[-1:]
    first_segment = split_offset(full[0].wal_offset)[0] if full else 0
    last_segment = split_offset(head)[0]
    sources = [
        (path, size)
        for segment_id, path, size in store.log.segments()
        if first_segment <= segment_id <= last_segment
    ]
    temporary = directory / f".{name}.partial"

    def copy() -> tuple[int, int]:
        files, size = _copy(store, target_fs, Layout(temporary), full, sources)
        read_directory(target_fs, Layout(temporary), store.options)
        target_fs.rename(temporary, target)
        target_fs.fsync_dir(directory)
        return files, size

    try:
        files, size = yield copy
    except (OSError, StorageError) as error:
        store.failures["backup"] += 1
        yield lambda: _remove_tree(target_fs, temporary)
        raise BackupFailed(f"{target}: the backup was not written: {error}") from error
    return BackupResult(name=name, wal_offset=head, files=files, bytes=size)


def _copy(
    store: Store,
    target_fs: FileSystem,
    target: Layout,
    snapshots: list[SnapshotInfo],
    segments: list[tuple[Path, int]],
) -> tuple[int, int]:
    """Copy the named files, synced; the number of files and of bytes."""
    _remove_tree(target_fs, target.root)
    for folder in (target.root.parent, target.root, target.wal, target.snapshots):
        if not target_fs.exists(folder):
            target_fs.mkdir(folder)
    pairs = [(path, target.wal / path.name, size) for path, size in segments]
    for info in snapshots:
        path = store.layout.snapshot(info.snapshot_id)
        pairs.append((path, target.snapshot(info.snapshot_id), info.size_bytes))
    for path, copy, size in pairs:
        _copy_file(store.fs, path, target_fs, copy, size)
    Catalog(target_fs, target, []).write(snapshots)
    for folder in (target.wal, target.snapshots, target.root, target.root.parent):
        target_fs.fsync_dir(folder)
    return len(pairs) + 1, sum(size for _, _, size in pairs) + target_fs.file_size(target.index)


def _copy_file(
    source_fs: FileSystem, source: Path, target_fs: FileSystem, target: Path, size: int
) -> None:
    reading = source_fs.open_read(source)
    try:
        writing = target_fs.create(target)
        try:
            copy_range(reading, 0, size, writing, 0)
            writing.fsync()
        finally:
            writing.close()
    finally:
        reading.close()


def _remove_tree(fs: FileSystem, root: Path) -> None:
    """Remove what an unfinished backup left; its layout is known, nothing else is touched."""
    layout = Layout(root)
    for folder in (layout.wal, layout.snapshots):
        if fs.exists(folder):
            for name in fs.listdir(folder):
                with contextlib.suppress(OSError):
                    fs.unlink(folder / name)
