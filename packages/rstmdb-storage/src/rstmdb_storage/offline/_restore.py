"""Restoring a backup into an empty directory, whole or up to an offset."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

import rstmdb_core as core
from rstmdb_storage._errors import DatabaseDamaged, InvalidBackupTarget, RestoreFailed
from rstmdb_storage._layout import Layout
from rstmdb_storage._options import StorageOptions
from rstmdb_storage._recovery import read_directory
from rstmdb_storage._snapshot import Catalog, SnapshotHeader, write_snapshot
from rstmdb_storage._starts import Start, load_catalog, starts
from rstmdb_wal import (
    BatchTooLarge,
    FsyncPolicy,
    Log,
    LogError,
    LogOptions,
    Recovery,
    highest_segment_id,
    split_offset,
)
from rstmdb_wal import Record as LogRecord
from rstmdb_wal.fs import FileSystem, OsFileSystem

from ._reading import Progress, held, records_of, recovery_of, watched

__all__ = ["RestoreResult", "restore_backup"]

_FLUSH_EVERY_BYTES = 1024 * 1024


class RestoreResult(Struct, frozen=True):
    """A restored database: up to which offset of the source, and what it holds."""

    database_id: str
    source_offset: int
    records: int
    machines: int
    instances: int


def restore_backup(
    source: str | Path,
    target: str | Path,
    *,
    to_offset: int | None = None,
    renumber: bool = False,
    fs: FileSystem | None = None,
    progress: Progress | None = None,
    new_database_id: Callable[[], bytes] = lambda: os.urandom(16),
) -> RestoreResult:
    """Rebuild a stopped database or backup in an empty or new directory.

    With `to_offset`, nothing after that offset is restored; of an atomic batch that goes
    beyond it, nothing at all. The copy is a database of its own with its own id: its records
    are appended anew, at higher offsets than any that the source directory has given out, so
    that nothing that belongs to one can be taken for the other's. What the original wrote, and
    what a snapshot of the source holds, goes into a snapshot.

    `renumber` begins at segment 1 again, for a source whose offsets have become larger than its
    clients can hold. All of it goes into a snapshot, whose offsets are small numbers in the old
    order; the log begins empty behind it, as after a compaction. Offsets that somebody keeps
    from before (to resume a watch, to expect a version) mean nothing any more.

    Raises InvalidBackupTarget for a target that is not empty, RestoreFailed when the source
    does not reach back to `to_offset`, DatabaseLocked, DatabaseDamaged and OSError; then there
    is no target.
    """
    fs = fs or OsFileSystem()
    layout, wanted = Layout(Path(source)), Path(target).absolute()
    if fs.exists(wanted) and fs.listdir(wanted):
        raise InvalidBackupTarget(f"{wanted} is not empty; restore into a new directory")
    with held(fs, layout, reading=True):
        start = _start(fs, layout, to_offset)
        partial = Layout(wanted.with_name(f".{wanted.name}.partial"))
        _make_folders(fs, partial)
        first_segment = 1 if renumber else _behind_all(fs, layout, start)
        restoring = _Restoring(fs, partial, start, new_database_id(), first_segment)
        try:
            recovery = recovery_of(fs, layout, start)
            with contextlib.closing(watched(recovery, progress)) as records:
                batches = _batches(records, to_offset)
                if renumber:
                    restoring.fold(batches)
                else:
                    restoring.run(batches)
        except LogError as error:
            raise DatabaseDamaged(str(error)) from error
    read = read_directory(fs, partial, StorageOptions())
    if read.start.state.digest() != restoring.state.digest():
        raise RestoreFailed(f"{partial.root}: reads back other than it was written")
    fs.rename(partial.root, wanted)
    fs.fsync_dir(wanted.parent)
    return RestoreResult(
        database_id=restoring.database_id.hex(),
        source_offset=restoring.source_offset,
        records=restoring.records,
        machines=restoring.state.machine_count,
        instances=len(restoring.state.instances),
    )


def _start(fs: FileSystem, layout: Layout, to_offset: int | None) -> Start:
    """The newest beginning that does not lie behind the offset."""
    catalog, legacy = load_catalog(fs, layout)
    for start in [legacy] if legacy else starts(fs, layout, catalog):
        reached = start.header.offset if start.header else max((start.covered or {"": 0}).values())
        if to_offset is not None and reached > to_offset:
            continue
        try:
            with records_of(recovery_of(fs, layout, start)) as records:
                next(records, None)
        except LogError as error:
            raise RestoreFailed(f"{layout.root}: can't be restored from: {error}") from error
        return start
    raise RestoreFailed(
        f"{layout.root}: does not reach back to offset {to_offset}: its snapshots are newer"
    )


def _behind_all(fs: FileSystem, layout: Layout, start: Start) -> int:
    """The first segment whose offsets lie behind all that the directory ever gave out."""
    names = fs.listdir(layout.wal) if fs.exists(layout.wal) else []
    covered = (start.covered or {}).values()
    reached = max((split_offset(offset)[0] for offset in covered), default=0)
    written_to = start.header.segment_id if start.header else 0
    return max(highest_segment_id(names), reached, written_to) + 1


def _make_folders(fs: FileSystem, layout: Layout) -> None:
    """An empty directory to build in; what an earlier attempt left there goes."""
    for folder in (layout.root, layout.wal, layout.snapshots):
        if not fs.exists(folder):
            fs.mkdir(folder)
    for folder in (layout.wal, layout.snapshots):
        for name in fs.listdir(folder):
            fs.unlink(folder / name)
        fs.fsync_dir(folder)
    fs.fsync_dir(layout.root)


def _batches(records: Iterator[LogRecord], to_offset: int | None) -> Iterator[list[LogRecord]]:
    """Group records into atomic batches, up to the last that ends at or before the offset."""
    batch: list[LogRecord] = []
    for record in records:
        if to_offset is not None and record.offset > to_offset:
            return
        batch.append(record)
        if not record.more:
            yield batch
            batch = []


class _Restoring:
    """A new log beside the state that it makes."""

    def __init__(
        self,
        fs: FileSystem,
        layout: Layout,
        start: Start,
        database_id: bytes,
        first_segment: int,
    ) -> None:
        self.state = start.state
        self.database_id = database_id
        self.records = 0
        self.source_offset = start.header.offset if start.header else 0
        self._sequence = start.header.sequence if start.header else 0
        self._covered = start.covered
        self._first_segment = first_segment
        self._fs = fs
        self._layout = layout

    def run(self, batches: Iterator[list[LogRecord]]) -> None:
        """Take in what the original wrote, then append the rest anew."""
        first = next(batches, None)
        while first is not None and first[0].legacy:
            for record in first:
                self._take(record)
            first = next(batches, None)
        self.source_offset = max(self.source_offset, *(self._covered or {"": 0}).values(), 0)
        log = self._new_log(self.source_offset)
        queued = 0
        while first is not None:
            queued += self._append(log, first)
            if queued >= _FLUSH_EVERY_BYTES:
                log.flush()
                queued = 0
            first = next(batches, None)
        log.close()

    def fold(self, batches: Iterator[list[LogRecord]]) -> None:
        """Take in everything, and begin a log of small offsets behind it."""
        for batch in batches:
            for record in batch:
                self._take(record)
        self.source_offset = max(self.source_offset, *(self._covered or {"": 0}).values(), 0)
        self.state = core.renumbered(self.state)
        self._new_log(self.state.last_offset).close()

    def _take(self, record: LogRecord) -> None:
        entry: Any = _decode(record)
        covered = self._covered or {}
        instance_id = getattr(entry, "instance_id", None)
        if instance_id is None or record.offset > covered.get(instance_id, -1):
            self.state.evolve(entry, record.offset)
        self._note(record)

    def _note(self, record: LogRecord) -> None:
        self.source_offset = record.offset
        self._sequence = record.sequence
        self.records += 1

    def _write_snapshot(self, offset: int) -> None:
        header = SnapshotHeader(
            snapshot_id=f"snap-{offset:016x}-restored",
            kind="full",
            database_id=self.database_id,
            offset=offset,
            sequence=self._sequence,
            segment_id=self._first_segment,
            created_at=max(self.state.last_timestamp, 0),
        )
        dumped = core.dump(self.state.freeze())
        info = write_snapshot(self._fs, self._layout, header, dumped)
        Catalog(self._fs, self._layout, []).write([info])

    def _new_log(self, offset: int) -> Log:
        """A log behind the state as it is, which is that at `offset`."""
        if offset:
            self._write_snapshot(offset)
        else:
            Catalog(self._fs, self._layout, []).write([])
        recovery = Recovery(
            self._layout.wal,
            fs=self._fs,
            options=LogOptions(policy=FsyncPolicy.never()),
            after=offset,
            after_sequence=self._sequence,
            min_segment=self._first_segment,
            database_id=self.database_id,
        )
        for _ in recovery:
            raise RestoreFailed(f"{self._layout.wal}: is not empty")
        return recovery.finish()

    def _append(self, log: Log, batch: list[LogRecord]) -> int:
        """Append a batch; its size in bytes."""
        if len(batch) == 1:
            (record,) = batch
            entry = self._relinked(_decode(record))
            self.state.evolve(entry, log.append(record.kind, core.encode_entry(entry)))
        else:
            try:
                self._stage(log, batch)
            except BatchTooLarge:
                log.abort_batch()
                self.state.rollback(log.head)
                log.rotate()
                self._stage(log, batch)
            log.commit_batch()
            self.state.released(log.head)
        for record in batch:
            self._note(record)
        return sum(len(record.payload) for record in batch)

    def _stage(self, log: Log, batch: list[LogRecord]) -> None:
        self.state.start_journal()
        log.begin_batch(atomic=True)
        for record in batch:
            entry = self._relinked(_decode(record))
            self.state.evolve(entry, log.stage(record.kind, core.encode_entry(entry)))

    def _relinked(self, entry: Any) -> Any:
        """An instance's entries name its previous one by offset: the new one, here."""
        if type(entry) not in (core.ApplyEvent, core.DeleteInstance):
            return entry
        instance = self.state.instances.get(entry.instance_id)
        previous = instance.last_wal_offset if instance is not None else 0
        return msgspec.structs.replace(entry, prev_offset=previous)


def _decode(record: LogRecord) -> Any:
    try:
        return core.decode_entry(record.kind, record.payload, record.legacy)
    except core.MalformedEntry as error:
        raise DatabaseDamaged(
            f"the record of sequence {record.sequence} at offset {record.offset} holds no "
            f"entry: {error}"
        ) from error
