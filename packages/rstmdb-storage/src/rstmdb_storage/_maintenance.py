"""Snapshots and compaction as procedures over a store (see `_procedure`).

They are run one at a time by whoever drives them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import rstmdb_core as core
from rstmdb_wal import split_offset

from ._errors import SnapshotFailed
from ._procedure import Durable, Procedure
from ._results import CompactResult, SnapshotInstanceResult, SnapshotResult
from ._snapshot import SnapshotHeader, SnapshotInfo, write_snapshot

if TYPE_CHECKING:
    from ._store import Store

__all__ = ["compact", "snapshot", "snapshot_instance", "take_snapshot"]


def _header(store: Store, kind: str, offset: int, instance_id: str | None) -> SnapshotHeader:
    created_at = store.clock()
    number = 1
    while store.fs.exists(store.layout.snapshot(f"snap-{offset:016x}-{created_at:x}-{number}")):
        number += 1  # never over a file that something may rely on, whatever the clock does
    return SnapshotHeader(
        snapshot_id=f"snap-{offset:016x}-{created_at:x}-{number}",
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
    began_ms = store.monotonic()
    head = store.log.head
    header = _header(store, "full", head, None)
    frozen = store.state.freeze()
    appended = store.appended
    written = store.log.bytes_written
    yield Durable(head)
    try:
        info: SnapshotInfo = yield lambda: write_snapshot(
            store.fs, store.layout, header, core.dump(frozen)
        )
        yield from _list_snapshot(store, info, began_ms)
    except SnapshotFailed:
        store.failures["snapshot"] += 1
        raise
    store.note_snapshot(info, appended, written)
    yield Durable(store.checkpoint(snapshot_id=info.snapshot_id))
    return info


def snapshot(store: Store) -> Procedure:
    """Take a full snapshot; returns a SnapshotResult. Raises SnapshotFailed and WriteFailed."""
    info: SnapshotInfo = yield from take_snapshot(store)
    return SnapshotResult(info.snapshot_id, info.wal_offset, info.size_bytes, info.checksum)


def _list_snapshot(store: Store, info: SnapshotInfo, began_ms: int) -> Procedure:
    catalog = store.catalog
    snapshots, gone = catalog.with_added(info)
    try:
        yield lambda: catalog.write(snapshots)
    except OSError as error:
        catalog.remove_files([info])
        raise SnapshotFailed(f"the list of snapshots was not written: {error}") from error
    catalog.written(snapshots, gone)
    if store.snapshot_taken is not None:
        store.snapshot_taken(store.monotonic() - began_ms)
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
    deleted, reclaimed = yield lambda: store.log.drop_before(limit)
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
    if store.catalog.legacy:
        # The original's index must not go before something of ours holds what it lists.
        yield from take_snapshot(store)
        instance = store.state.get_instance(instance_id)
    began_ms = store.monotonic()
    header = _header(store, "instance", instance.last_wal_offset, instance_id)
    yield Durable(instance.last_wal_offset)
    try:
        info: SnapshotInfo = yield lambda: write_snapshot(
            store.fs, store.layout, header, core.dump_instance(instance)
        )
        yield from _list_snapshot(store, info, began_ms)
    except SnapshotFailed:
        store.failures["snapshot"] += 1
        raise
    return SnapshotInstanceResult(
        instance_id=instance_id,
        snapshot_id=info.snapshot_id,
        wal_offset=info.wal_offset,
        size_bytes=info.size_bytes,
        checksum=info.checksum,
    )
