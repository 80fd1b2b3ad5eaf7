"""From a directory to a state: the newest snapshot that verifies, then the log behind it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

import rstmdb_core as core
from rstmdb_core import State
from rstmdb_wal import (
    KIND_CHECKPOINT,
    Log,
    LogDamaged,
    LogError,
    Recovery,
    RecoveryReport,
    split_offset,
)
from rstmdb_wal.fs import FileSystem, read_bytes

from ._errors import DatabaseDamaged
from ._layout import Layout
from ._legacy import load_legacy_snapshots
from ._options import StorageOptions
from ._snapshot import (
    Catalog,
    SnapshotHeader,
    SnapshotInfo,
    decode_blocks,
    is_legacy_index,
    reader,
)

__all__ = ["Recovered", "recover", "verify_directory"]

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
    seconds: float


@dataclass(slots=True)
class _Start:
    """A state to replay on, and where the replay begins."""

    state: State
    info: SnapshotInfo | None = None
    header: SnapshotHeader | None = None
    covered: dict[str, int] | None = None
    """Of the original's snapshots: up to which offset each instance is covered."""


def recover(fs: FileSystem, layout: Layout, options: StorageOptions) -> Recovered:
    """Load, replay, and make the log writable.

    Raises DatabaseDamaged when neither a snapshot nor the log can tell the state, and OSError
    when the directory can't be read: a read error is never an empty database.
    """
    began = perf_counter()
    catalog, legacy = _load_catalog(fs, layout)
    start = legacy or _newest_usable(fs, layout, catalog)
    recovery = _recovery(fs, layout, options, start)
    try:
        checkpoint = _replay(recovery, start)
        log = recovery.finish()
    except LogError as error:
        raise DatabaseDamaged(_explain(error, start, catalog)) from error
    return Recovered(
        start.state,
        log,
        catalog,
        recovery.report,
        start.info,
        checkpoint,
        perf_counter() - began,
    )


def verify_directory(fs: FileSystem, layout: Layout, options: StorageOptions) -> State:
    """Read a directory as a start would, changing nothing; the state that it holds.

    Raises DatabaseDamaged and OSError.
    """
    catalog, legacy = _load_catalog(fs, layout)
    start = legacy or _newest_usable(fs, layout, catalog)
    try:
        _replay(_recovery(fs, layout, options, start), start)
    except LogError as error:
        raise DatabaseDamaged(_explain(error, start, catalog)) from error
    return start.state


def _load_catalog(fs: FileSystem, layout: Layout) -> tuple[Catalog, _Start | None]:
    if fs.exists(layout.index):
        index = read_bytes(fs, layout.index)
        if is_legacy_index(index):
            state, covered = load_legacy_snapshots(fs, layout, index)
            return Catalog(fs, layout, []), _Start(state, covered=covered)
    catalog, problem = Catalog.load(fs, layout)
    if problem is not None:
        logger.warning("%s; rebuilt from the snapshot files", problem)
    return catalog, None


def _newest_usable(fs: FileSystem, layout: Layout, catalog: Catalog) -> _Start:
    """Load the newest snapshot that verifies; what is damaged is reported and passed over."""
    for info in reversed(catalog.full):
        try:
            return _load_snapshot(fs, layout, info)
        except (DatabaseDamaged, core.CoreError, FileNotFoundError) as error:
            logger.error("snapshot %s can't be used: %s", info.snapshot_id, error)
            catalog.snapshots = [other for other in catalog.snapshots if other is not info]
    return _Start(State())


def _load_snapshot(fs: FileSystem, layout: Layout, info: SnapshotInfo) -> _Start:
    path = layout.snapshot(info.snapshot_id)
    file = fs.open_read(path)
    try:
        blocks = decode_blocks(reader(file), str(path))
        _, items = next(blocks)
        header = msgspec.convert(items[0], SnapshotHeader)
        return _Start(State.load(blocks), info, header)
    except msgspec.ValidationError as error:
        raise DatabaseDamaged(f"{path}: its header can't be read: {error}") from error
    finally:
        file.close()


def _recovery(fs: FileSystem, layout: Layout, options: StorageOptions, start: _Start) -> Recovery:
    header = start.header
    if header is None:
        return Recovery(layout.wal, fs=fs, options=options.log)
    return Recovery(
        layout.wal,
        fs=fs,
        options=options.log,
        after=header.offset,
        after_sequence=header.sequence,
        min_segment=header.segment_id,
        database_id=header.database_id,
    )


def _replay(recovery: Recovery, start: _Start) -> int:
    """Feed every record to the same evolve that live traffic uses.

    Returns the offset of the last record if that is a checkpoint, else 0.
    """
    state = start.state
    evolve = state.evolve
    decode = core.decode_entry
    covered = start.covered
    next_report = PROGRESS_EVERY_RECORDS
    count = checkpoint = 0
    for record in recovery:
        try:
            entry = decode(record.kind, record.payload, record.legacy)
        except core.MalformedEntry as error:
            segment, at = split_offset(record.offset)
            raise DatabaseDamaged(
                f"the record of sequence {record.sequence} at offset {record.offset} (segment "
                f"{segment}, byte {at}) holds no entry: {error}; look at it with "
                "`rstmdb-cli dump`"
            ) from error
        count += 1
        if count >= next_report:
            next_report += PROGRESS_EVERY_RECORDS
            report = recovery.report
            share = 100 * report.bytes / report.total_bytes if report.total_bytes else 100
            logger.info("recovering: %d records, %.0f percent of the log", count, share)
        if covered is not None and _is_covered(entry, record.offset, covered):
            continue
        evolve(entry, record.offset)
        checkpoint = record.offset if record.kind == KIND_CHECKPOINT else 0
    return checkpoint


def _is_covered(entry: Any, offset: int, covered: dict[str, int]) -> bool:
    """Whether one of the original's instance snapshots holds what this entry did."""
    instance_id = getattr(entry, "instance_id", None)
    return instance_id is not None and offset <= covered.get(instance_id, -1)


def _explain(error: LogError, start: _Start, catalog: Catalog) -> str:
    text = str(error)
    if start.info is None and isinstance(error, LogDamaged) and catalog.snapshots == []:
        return text
    used = "no snapshot" if start.info is None else f"snapshot {start.info.snapshot_id}"
    return f"{text} (replaying on {used})"
