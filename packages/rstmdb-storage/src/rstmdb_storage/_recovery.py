"""From a directory to a state: the newest snapshot that verifies, then the log behind it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import msgspec
from crc32c import crc32c

import rstmdb_core as core
from rstmdb_core import State
from rstmdb_wal import (
    KIND_CHECKPOINT,
    Log,
    LogDamaged,
    LogError,
    Record,
    Recovery,
    RecoveryReport,
    split_offset,
)
from rstmdb_wal.fs import FileSystem, read_bytes

from ._errors import DatabaseDamaged, NewerFormat
from ._layout import Layout
from ._legacy import has_legacy_snapshots, load_legacy_snapshots, rebuild_legacy_index
from ._options import StorageOptions
from ._snapshot import (
    Catalog,
    SnapshotHeader,
    SnapshotInfo,
    decode_blocks,
    is_legacy_index,
    reader,
)

__all__ = [
    "Recovered",
    "Replayed",
    "Start",
    "load_catalog",
    "read_directory",
    "recover",
    "starts",
]

logger = logging.getLogger("rstmdb.recovery")

PROGRESS_EVERY_RECORDS = 250_000


@dataclass(slots=True)
class Recovered:
    """What a directory held, and the log to go on with."""

    state: State
    log: Log
    catalog: Catalog
    report: RecoveryReport
    snapshot: SnapshotInfo | None
    checkpoint: int
    """Offset of the last record if that is a checkpoint, as after a clean stop; else 0."""
    entries: int
    """Records replayed that are no checkpoints."""
    seconds: float


@dataclass(slots=True)
class Start:
    """A state to replay on, and where the replay begins."""

    state: State
    info: SnapshotInfo | None = None
    header: SnapshotHeader | None = None
    covered: dict[str, int] | None = None
    """Of the original's snapshots: up to which offset each instance is covered."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return "no snapshot" if self.info is None else f"snapshot {self.info.snapshot_id}"


@dataclass(slots=True)
class Replayed:
    """A state, and the recovery that led to it and can still be finished."""

    start: Start
    recovery: Recovery
    catalog: Catalog
    checkpoint: int = 0
    entries: int = 0


def recover(fs: FileSystem, layout: Layout, options: StorageOptions) -> Recovered:
    """Load, replay, and make the log writable.

    Raises DatabaseDamaged when neither a snapshot nor the log can tell the state, and OSError
    when the directory can't be read: a read error is never an empty database.
    """
    began = perf_counter()
    replayed = read_directory(fs, layout, options)
    start, recovery, catalog = replayed.start, replayed.recovery, replayed.catalog
    try:
        log = recovery.finish()
    except LogError as error:
        raise DatabaseDamaged(str(error)) from error
    catalog.remove_leftovers()
    if start.covered is not None:
        _report_orphans(start.state)
    return Recovered(
        start.state,
        log,
        catalog,
        recovery.report,
        start.info,
        replayed.checkpoint,
        replayed.entries,
        perf_counter() - began,
    )


def read_directory(fs: FileSystem, layout: Layout, options: StorageOptions) -> Replayed:
    """Read a directory as a start does, changing nothing.

    The first start from which the log can be followed to its end is taken: the newest
    snapshot, an older one, the log alone. Damage is passed over only when all of them fail
    and the options say so. Raises DatabaseDamaged and OSError.
    """
    catalog, legacy = load_catalog(fs, layout)
    strict = replace(options.log, recovery="strict")
    first: DatabaseDamaged | None = None
    passed_over: list[SnapshotHeader] = []
    database_id = None
    for start in [legacy] if legacy else starts(fs, layout, catalog):
        recovery = _recovery(fs, layout, strict, start)
        try:
            replayed = _follow(recovery, start, catalog)
            if not _falls_short(recovery, passed_over):
                return replayed
            continue
        except LogDamaged as error:
            failed = DatabaseDamaged(f"{error} (replaying on {start.name})")
            failed.__cause__ = error
        except LogError as error:
            raise DatabaseDamaged(str(error)) from error
        except DatabaseDamaged as error:
            failed = error
        first = first or failed
        database_id = recovery.database_id
        if start.header is not None:
            passed_over.append(start.header)
            logger.error("can't go on from %s: %s", start.name, failed)
    if options.log.recovery == "strict" or first is None:
        raise first or DatabaseDamaged(f"{layout.root}: there is nothing to start from")
    logger.error("going on past damage, as storage.recovery says: %s", first)
    _, legacy = load_catalog(fs, layout)  # the first one was replayed on
    for start in [legacy] if legacy else starts(fs, layout, catalog):
        if start.header is not None and start.header.database_id != database_id:
            continue
        return _follow(_recovery(fs, layout, options.log, start), start, catalog, skip=True)
    raise first


def _falls_short(recovery: Recovery, passed_over: list[SnapshotHeader]) -> bool:
    """Whether the log ends before a whole snapshot of this database: what that holds was true."""
    return any(
        header.offset > recovery.report.head and header.database_id == recovery.database_id
        for header in passed_over
    )


def load_catalog(fs: FileSystem, layout: Layout) -> tuple[Catalog, Start | None]:
    """The list of snapshots, and what the original's snapshots hold where there are any."""
    index = read_bytes(fs, layout.index) if fs.exists(layout.index) else None
    if index is not None and is_legacy_index(index):
        catalog = Catalog(fs, layout, [])
    else:
        catalog = Catalog.load(fs, layout)
        if catalog.snapshots or not has_legacy_snapshots(fs, layout):
            return catalog, None
        index = rebuild_legacy_index(fs, layout)
    state, covered = load_legacy_snapshots(fs, layout, index)
    catalog.legacy = bool(covered)
    return catalog, Start(state, covered=covered)


def starts(fs: FileSystem, layout: Layout, catalog: Catalog) -> Iterator[Start]:
    """Each snapshot that verifies, newest first, then nothing; what is damaged is set aside."""
    for info in reversed(catalog.full):
        try:
            yield _load_snapshot(fs, layout, info)
        except NewerFormat:
            raise
        except (DatabaseDamaged, core.CoreError, FileNotFoundError) as error:
            logger.error("snapshot %s can't be used: %s", info.snapshot_id, error)
            catalog.set_aside(info)
    yield Start(State())


def _load_snapshot(fs: FileSystem, layout: Layout, info: SnapshotInfo) -> Start:
    path = layout.snapshot(info.snapshot_id)
    file = fs.open_read(path)
    try:
        blocks = decode_blocks(reader(file), str(path))
        _, items = next(blocks)
        header = msgspec.convert(items[0], SnapshotHeader)
        if header.snapshot_id != info.snapshot_id or header.kind != "full":
            raise DatabaseDamaged(f"{path}: holds the {header.kind} snapshot {header.snapshot_id}")
        return Start(State.load(blocks), info, header)
    except NewerFormat as error:
        if info.checksum and f"{crc32c(read_bytes(fs, path)):08x}" != info.checksum:
            raise DatabaseDamaged(f"{path}: is not as it was written") from error
        raise
    except msgspec.ValidationError as error:
        raise DatabaseDamaged(f"{path}: its header can't be read: {error}") from error
    finally:
        file.close()


def _recovery(fs: FileSystem, layout: Layout, options: Any, start: Start) -> Recovery:
    header = start.header
    if header is None:
        return Recovery(layout.wal, fs=fs, options=options)
    return Recovery(
        layout.wal,
        fs=fs,
        options=options,
        after=header.offset,
        after_sequence=header.sequence,
        min_segment=header.segment_id,
        database_id=header.database_id,
    )


def _follow(recovery: Recovery, start: Start, catalog: Catalog, *, skip: bool = False) -> Replayed:
    """Feed every record to the same evolve that live traffic uses."""
    state = start.state
    evolve = state.evolve
    decode = core.decode_entry
    covered = start.covered
    next_report = PROGRESS_EVERY_RECORDS
    count = checkpoint = checkpoints = 0
    for record in recovery:
        try:
            entry = decode(record.kind, record.payload, record.legacy)
        except core.MalformedEntry as error:
            _malformed(recovery, record, error, skip=skip)
            continue
        count += 1
        if count >= next_report:
            next_report += PROGRESS_EVERY_RECORDS
            report = recovery.report
            share = 100 * report.bytes / report.total_bytes if report.total_bytes else 100
            logger.info("recovering: %d records, %.0f percent of the log", count, share)
        if covered is not None and _is_covered(entry, record.offset, covered):
            continue
        evolve(entry, record.offset)
        if record.kind == KIND_CHECKPOINT:
            checkpoint = record.offset
            checkpoints += 1
        else:
            checkpoint = 0
    _check_end(recovery, catalog, skip=skip)
    return Replayed(start, recovery, catalog, checkpoint, count - checkpoints)


def _malformed(recovery: Recovery, record: Record, error: Exception, *, skip: bool) -> None:
    segment, at = split_offset(record.offset)
    message = (
        f"the record of sequence {record.sequence} at offset {record.offset} (segment {segment}, "
        f"byte {at}) holds no entry: {error}; look at it with `rstmdb-cli dump`"
    )
    if not skip:
        raise DatabaseDamaged(message) from error
    logger.error("%s", message)
    recovery.report.skipped_records += 1
    if segment not in recovery.report.damaged_segments:
        recovery.report.damaged_segments.append(segment)


def _check_end(recovery: Recovery, catalog: Catalog, *, skip: bool) -> None:
    """Refuse a log that ends before a snapshot that can't be used: what that held is lost."""
    for info in catalog.unusable:
        if info.wal_offset > recovery.report.head:
            message = (
                f"the log ends at offset {recovery.report.head}, snapshot {info.snapshot_id}, "
                f"which can't be used, holds what was written up to {info.wal_offset}; restore "
                "a backup, or give up what is lost with `storage.recovery: skip_corrupt`"
            )
            if not skip:
                raise DatabaseDamaged(message)
            logger.error("%s", message)


def _is_covered(entry: Any, offset: int, covered: dict[str, int]) -> bool:
    """Whether one of the original's instance snapshots holds what this entry did."""
    instance_id = getattr(entry, "instance_id", None)
    return instance_id is not None and offset <= covered.get(instance_id, -1)


def _report_orphans(state: State) -> None:
    """Say which machines the original compacted away while instances of theirs live."""
    known = state.machines
    missing: dict[tuple[str, int], int] = {}
    for instance_id in state.instances:
        instance = state.instances[instance_id]
        key = (instance.machine, instance.version)
        if key not in known:
            missing[key] = missing.get(key, 0) + 1
    for (machine, version), count in sorted(missing.items()):
        logger.warning(
            "%d instances are of machine %s version %d, which the log no longer holds; they "
            "take events again once PUT_MACHINE registers it",
            count,
            machine,
            version,
        )
