"""Snapshots, compaction and backup as procedures over a store (see `_procedure`).

They are run one at a time by whoever drives them.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import rstmdb_core as core
from rstmdb_wal import split_offset
from rstmdb_wal.fs import FileSystem, copy_range

from ._errors import BackupFailed, InvalidBackupTarget, SnapshotFailed, StorageError
from ._layout import Layout
from ._procedure import Durable, Procedure
from ._recovery import verify_directory
from ._results import BackupResult, CompactResult, SnapshotInstanceResult
from ._snapshot import SnapshotHeader, SnapshotInfo, write_snapshot

if TYPE_CHECKING:
    from ._store import Store

__all__ = ["backup", "compact", "snapshot_instance", "take_snapshot"]

_BACKUP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def _header(store: Store, kind: str, offset: int, instance_id: str | None) -> SnapshotHeader:
    created_at = store.clock()
    store.snapshots_begun += 1
    return SnapshotHeader(
        snapshot_id=f"snap-{offset:016x}-{created_at:x}-{store.snapshots_begun}",
        kind=kind,
        database_id=store.log.database_id,
        offset=offset,
        sequence=store.log.next_sequence - 1,
        segment_id=split_offset(store.log.next_offset)[0],
        created_at=created_at,
        instance_id=instance_id,
    )


def take_snapshot(store: Store) -> Procedure:
    """Write the whole state as it is now; returns its SnapshotInfo once it is relied on.

    The state is copied in this one step. It is written only when the log is synced up to
    it, so that a snapshot never holds what a crash could take back. Raises SnapshotFailed
    and WriteFailed; nothing relies on the snapshot then.
    """
    head = store.log.head
    header = _header(store, "full", head, None)
    frozen = store.state.freeze()
    appended = store.appended
    written = store.log.bytes_written
    yield Durable(head)
    info: SnapshotInfo = yield lambda: write_snapshot(
        store.fs, store.layout, header, core.dump(frozen)
    )
    yield from _list_snapshot(store, info)
    store.note_snapshot(info, appended, written)
    yield Durable(store.checkpoint(snapshot_id=info.snapshot_id))
    return info


def _list_snapshot(store: Store, info: SnapshotInfo) -> Procedure:
    catalog = store.catalog
    snapshots, gone = catalog.with_added(info)
    try:
        yield lambda: catalog.write(snapshots)
    except OSError as error:
        catalog.remove_files([info])
        raise SnapshotFailed(f"the list of snapshots was not written: {error}") from error
    catalog.snapshots = snapshots
    yield lambda: catalog.remove_files(gone)


def compact(store: Store, *, force_snapshot: bool = False) -> Procedure:
    """Snapshot, checkpoint, then delete the segments that lie wholly before it.

    No snapshot is taken when nothing was written since the last, unless it is forced.
    Lagging subscriptions hold segments back, up to compaction.max_watch_lag_bytes.
    Raises SnapshotFailed and WriteFailed; no segment is deleted then.
    """
    created = 0
    full = store.catalog.full
    if force_snapshot or store.appended or not full:
        info: SnapshotInfo = yield from take_snapshot(store)
        created = 1
    else:
        info = full[-1]
    limit = store.retained_from(info.wal_offset)
    deleted, reclaimed = store.log.drop_before(limit)
    return CompactResult(
        snapshots_created=created,
        segments_deleted=deleted,
        bytes_reclaimed=reclaimed,
        total_snapshots=len(store.catalog.full),
        wal_segments=store.log.stats().segment_count,
    )


def snapshot_instance(store: Store, instance_id: str) -> Procedure:
    """Write one instance in the format of a snapshot. Raises InstanceNotFound, SnapshotFailed."""
    instance = store.state.get_instance(instance_id)
    header = _header(store, "instance", instance.last_wal_offset, instance_id)
    yield Durable(instance.last_wal_offset)
    info: SnapshotInfo = yield lambda: write_snapshot(
        store.fs, store.layout, header, core.dump_instance(instance)
    )
    yield from _list_snapshot(store, info)
    return SnapshotInstanceResult(
        instance_id=instance_id,
        snapshot_id=info.snapshot_id,
        wal_offset=info.wal_offset,
        size_bytes=info.size_bytes,
        checksum=info.checksum,
    )


def backup(store: Store, directory: Path, name: str) -> Procedure:
    """Copy the newest snapshot and the log behind it to directory/name; returns BackupResult.

    The active segment is sealed, so that what is copied never changes again. The copy has a
    temporary name until it was verified; it is a data directory that opens as it is.
    Raises InvalidBackupTarget for a name that is no plain file name or is taken, BackupFailed.
    """
    if not _BACKUP_NAME.fullmatch(name):
        raise InvalidBackupTarget(
            f"name: {name!r:.140} is no backup name; use letters, digits, '.', '_' and '-'"
        )
    target = directory / name
    if store.fs.exists(target):
        raise InvalidBackupTarget(f"name: a backup {name!r} exists already")
    head = store.log.head
    store.log.rotate()
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
        files, size = _copy(store.fs, store.layout, Layout(temporary), full, sources)
        verify_directory(store.fs, Layout(temporary), store.options)
        store.fs.rename(temporary, target)
        store.fs.fsync_dir(directory)
        return files, size

    try:
        files, size = yield copy
    except (OSError, StorageError) as error:
        yield lambda: _remove_tree(store.fs, temporary)
        raise BackupFailed(f"{target}: the backup was not written: {error}") from error
    return BackupResult(name=name, wal_offset=head, files=files, bytes=size)


def _copy(
    fs: FileSystem,
    source: Layout,
    target: Layout,
    snapshots: list[SnapshotInfo],
    segments: list[tuple[Path, int]],
) -> tuple[int, int]:
    """Copy the named files, synced; the number of files and of bytes."""
    _remove_tree(fs, target.root)
    for folder in (target.root.parent, target.root, target.wal, target.snapshots):
        if not fs.exists(folder):
            fs.mkdir(folder)
    pairs = [(path, target.wal / path.name, size) for path, size in segments]
    for info in snapshots:
        path = source.snapshot(info.snapshot_id)
        pairs.append((path, target.snapshot(info.snapshot_id), info.size_bytes))
    for path, copy, size in pairs:
        _copy_file(fs, path, copy, size)
    for folder in (target.wal, target.snapshots, target.root, target.root.parent):
        fs.fsync_dir(folder)
    return len(pairs), sum(size for _, _, size in pairs)


def _copy_file(fs: FileSystem, source: Path, target: Path, size: int) -> None:
    reading = fs.open_read(source)
    try:
        writing = fs.create(target)
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
