"""Checking a stopped database, and counting what is in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from msgspec import Struct

import rstmdb_core as core
from rstmdb_storage._errors import DatabaseDamaged, StorageError
from rstmdb_storage._layout import Layout
from rstmdb_storage._options import StorageOptions
from rstmdb_storage._recovery import read_directory
from rstmdb_storage._snapshot import Catalog, decode_blocks, reader
from rstmdb_storage._starts import load_catalog, starts
from rstmdb_wal import LogDamaged, LogError
from rstmdb_wal.fs import FileSystem, OsFileSystem

from ._reading import Passes, Progress, held, oldest_first, recovery_of, watched

__all__ = ["DatabaseStats", "SnapshotCheck", "VerifyReport", "database_stats", "verify_database"]

_KIND_NAMES = {kind: str(entry.__struct_config__.tag) for entry, kind in core.ENTRY_KINDS.items()}


class SnapshotCheck(Struct, frozen=True):
    """A snapshot file that is listed or found; `problem` is None when it verifies."""

    snapshot_id: str
    kind: str
    wal_offset: int
    size_bytes: int
    problem: str | None


class VerifyReport(Struct, frozen=True):
    """What `verify_database` found.

    `opens` tells whether a start would succeed, `refusal` why not. `records` (by type in
    `kinds`) were read from `first_offset` to `last_offset`, sequences `first_sequence` to
    `last_sequence`; 0 where there are none. `torn_bytes` will be cut off at the next start.
    `damage` lists what can't be read; a start passes over what a snapshot covers. `readable`
    counts the records that could be read if damage were skipped, `lost` those that could not.
    `state` is a SHA-256 over the state that a start arrives at, None where it does not.
    """

    path: str
    opens: bool
    refusal: str | None
    database_id: str | None
    segments: int
    log_bytes: int
    records: int
    legacy_records: int
    kinds: dict[str, int]
    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    torn_bytes: int
    damage: list[str]
    readable: int
    lost: int
    snapshots: list[SnapshotCheck]
    ignored: dict[str, int]
    machines: int
    instances: int
    state: str | None

    @property
    def healthy(self) -> bool:
        """Nothing is damaged, not even what a start passes over."""
        return self.opens and not self.damage and not any(s.problem for s in self.snapshots)


def verify_database(
    path: str | Path, *, fs: FileSystem | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Read everything in a stopped directory, changing nothing, and say whether it would open.

    Raises DatabaseLocked, DatabaseDamaged where there is no database, and OSError.
    """
    fs = fs or OsFileSystem()
    layout = Layout(Path(path))
    with held(fs, layout, reading=True):
        return _verify(fs, layout, progress)


def _verify(fs: FileSystem, layout: Layout, progress: Progress | None) -> VerifyReport:
    refusal = digest = None
    state = core.State()
    damage: list[str] = []
    passes = Passes(progress, 2)
    try:
        state = read_directory(fs, layout, StorageOptions(), passes.next()).start.state
        digest = state.digest()
    except StorageError as error:
        refusal = str(error)
        damage.append(refusal)
    try:
        catalog, legacy = load_catalog(fs, layout)
        found = [legacy] if legacy else list(starts(fs, layout, catalog))
    except StorageError as error:
        return _unreadable(layout, str(error))
    start = oldest_first(fs, layout, found)
    recovery = recovery_of(fs, layout, start)
    kinds: Counter[int] = Counter()
    first = last = None
    try:
        for record in watched(recovery, passes.next()):
            kinds[record.kind] += 1
            first, last = first or record, record
    except LogDamaged as error:
        if str(error) not in (refusal or ""):
            damage.append(f"{error} (a start passes over it: a snapshot covers it)")
    except LogError as error:
        damage.append(str(error))
    report = recovery.report
    readable, lost = report.records, 0
    if damage:
        readable, lost = _count_past_damage(fs, layout, start)
    return VerifyReport(
        path=str(layout.root),
        opens=refusal is None,
        refusal=refusal,
        database_id=recovery.database_id.hex() if recovery.database_id else None,
        segments=report.segments,
        log_bytes=report.total_bytes,
        records=kinds.total(),
        legacy_records=report.legacy_records,
        kinds={_KIND_NAMES.get(kind, str(kind)): count for kind, count in sorted(kinds.items())},
        first_sequence=first.sequence if first else 0,
        last_sequence=last.sequence if last else 0,
        first_offset=first.offset if first else 0,
        last_offset=last.offset if last else 0,
        torn_bytes=report.torn_bytes,
        damage=damage,
        readable=readable,
        lost=lost,
        snapshots=_check_snapshots(fs, layout, catalog),
        ignored=dict(state.ignored),
        machines=state.machine_count,
        instances=len(state.instances),
        state=digest,
    )


def _unreadable(layout: Layout, problem: str) -> VerifyReport:
    return VerifyReport(
        str(layout.root), False, problem, None, 0, 0, 0, 0, {}, 0, 0, 0, 0, 0, [problem], 0, 0,
        [], {}, 0, 0, None,
    )  # fmt: skip


def _count_past_damage(fs: FileSystem, layout: Layout, start: Any) -> tuple[int, int]:
    recovery = recovery_of(fs, layout, start, skip=True)
    try:
        for _ in recovery:
            pass
    except LogError:
        return recovery.report.records, recovery.report.skipped_records
    return recovery.report.records, recovery.report.skipped_records


def _check_snapshots(fs: FileSystem, layout: Layout, catalog: Catalog) -> list[SnapshotCheck]:
    checks = []
    for info in [*catalog.unusable, *catalog.snapshots]:
        problem = None
        path = layout.snapshot(info.snapshot_id)
        try:
            file = fs.open_read(path)
            try:
                for _ in decode_blocks(reader(file), str(path)):
                    pass
            finally:
                file.close()
        except (DatabaseDamaged, FileNotFoundError) as error:
            problem = str(error)
        if problem is None and info in catalog.unusable:
            problem = f"{path}: does not hold what it is listed for"
        checks.append(
            SnapshotCheck(info.snapshot_id, info.kind, info.wal_offset, info.size_bytes, problem)
        )
    return sorted(checks, key=lambda check: check.wal_offset)


class DatabaseStats(Struct, frozen=True):
    """Sizes and counts of a stopped database; `states` counts instances by machine and state."""

    path: str
    segments: int
    log_bytes: int
    snapshots: int
    snapshot_bytes: int
    last_sequence: int
    last_offset: int
    last_timestamp: int
    machines: dict[str, list[int]]
    instances: int
    states: dict[str, dict[str, int]]
    tombstones: int
    idempotency_keys: int


def database_stats(path: str | Path, *, fs: FileSystem | None = None) -> DatabaseStats:
    """Count what is in a stopped directory. Raises DatabaseLocked, DatabaseDamaged and OSError."""
    fs = fs or OsFileSystem()
    layout = Layout(Path(path))
    with held(fs, layout, reading=True):
        read = read_directory(fs, layout, StorageOptions())
        names = fs.listdir(layout.wal) if fs.exists(layout.wal) else []
        sizes = [fs.file_size(layout.wal / name) for name in names if name.endswith(".wal")]
    state = read.start.state
    states: dict[str, dict[str, int]] = {}
    for name, group in sorted(state.groups.items()):
        counts = {key: index.count for key, index in sorted(group.by_state.items()) if index.count}
        if counts:
            states[name] = counts
    return DatabaseStats(
        path=str(layout.root),
        segments=len(sizes),
        log_bytes=sum(sizes),
        snapshots=len(read.catalog.full),
        snapshot_bytes=sum(info.size_bytes for info in read.catalog.snapshots),
        last_sequence=read.recovery.report.last_sequence,
        last_offset=read.recovery.report.head,
        last_timestamp=state.last_timestamp,
        machines={item.machine: item.versions for item in state.list_machines()},
        instances=len(state.instances),
        states=states,
        tombstones=len(state.tombstones.by_key),
        idempotency_keys=len(state.keys.by_key),
    )
