"""From a directory to a state: the newest snapshot that verifies, then the log behind it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from time import perf_counter

from rstmdb_core import State
from rstmdb_wal import Log, LogDamaged, LogError, Recovery, RecoveryReport
from rstmdb_wal.fs import FileSystem

from ._errors import DatabaseDamaged
from ._follow import Progress, Replayed, follow
from ._layout import Layout
from ._options import StorageOptions
from ._snapshot import Catalog, SnapshotHeader, SnapshotInfo
from ._starts import load_catalog, recovery_from, starts

__all__ = ["Recovered", "read_directory", "recover"]

logger = logging.getLogger("rstmdb.recovery")


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
    ignored: dict[str, int]
    """Entries that made no sense and changed nothing, by reason."""
    seconds: float


def recover(
    fs: FileSystem, layout: Layout, options: StorageOptions, progress: Progress | None = None
) -> Recovered:
    """Load, replay, and make the log writable.

    Raises DatabaseDamaged when neither a snapshot nor the log can tell the state, and OSError
    when the directory can't be read: a read error is never an empty database.
    """
    began = perf_counter()
    replayed = read_directory(fs, layout, options, progress)
    start, recovery, catalog = replayed.start, replayed.recovery, replayed.catalog
    try:
        log = recovery.finish()
    except LogError as error:
        raise DatabaseDamaged(str(error)) from error
    catalog.remove_leftovers()
    if start.covered is not None:
        _report_orphans(start.state)
    ignored = dict(start.state.ignored)
    for reason, count in sorted(ignored.items()):
        logger.warning("%d entries of the log were ignored: %s", count, reason)
    return Recovered(
        start.state,
        log,
        catalog,
        recovery.report,
        start.info,
        replayed.checkpoint,
        replayed.entries,
        ignored,
        perf_counter() - began,
    )


def read_directory(
    fs: FileSystem, layout: Layout, options: StorageOptions, progress: Progress | None = None
) -> Replayed:
    """Read a directory as a start does, changing nothing.

    The first start from which the log can be followed to its end is taken: the newest
    snapshot, an older one, the log alone. Damage is passed over only when all of them fail
    and the options say so. `progress` hears of every attempt from its beginning. Raises
    DatabaseDamaged and OSError.
    """
    catalog, legacy = load_catalog(fs, layout)
    strict = replace(options.log, recovery="strict")
    first: DatabaseDamaged | None = None
    passed_over: list[SnapshotHeader] = []
    database_id = None
    for start in [legacy] if legacy else starts(fs, layout, catalog):
        recovery = recovery_from(fs, layout, strict, start)
        try:
            replayed = follow(recovery, start, catalog, progress=progress)
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
        recovery = recovery_from(fs, layout, options.log, start)
        return follow(recovery, start, catalog, skip=True, progress=progress)
    raise first


def _falls_short(recovery: Recovery, passed_over: list[SnapshotHeader]) -> bool:
    """Whether the log ends before a whole snapshot of this database: what that holds was true."""
    return any(
        header.offset > recovery.report.head and header.database_id == recovery.database_id
        for header in passed_over
    )


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
