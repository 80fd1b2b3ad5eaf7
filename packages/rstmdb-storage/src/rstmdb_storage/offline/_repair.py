"""Making a damaged directory open again, after saving what has to go."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from msgspec import Struct

from rstmdb_storage._errors import DatabaseDamaged
from rstmdb_storage._layout import Layout
from rstmdb_storage._open import open_store
from rstmdb_storage._options import StorageOptions
from rstmdb_storage._recovery import read_directory
from rstmdb_storage._starts import load_catalog, starts
from rstmdb_wal import LogDamaged, LogOptions, split_offset
from rstmdb_wal.fs import FileSystem, OsFileSystem, copy_range

from ._reading import Passes, Progress, held

__all__ = ["RepairReport", "repair_database"]

logger = logging.getLogger("rstmdb.recovery")


class RepairReport(Struct, frozen=True):
    """What a repair did; `saved` are the files in wal/ that now hold what was taken out."""

    saved: list[str]
    skipped_records: int
    torn_bytes: int
    last_sequence: int
    last_offset: int


def repair_database(
    path: str | Path,
    how: Literal["cut", "skip"] = "cut",
    *,
    fs: FileSystem | None = None,
    progress: Progress | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> RepairReport:
    """Make a stopped directory open again.

    "cut" ends the log before the first damage: what is left is a moment that really was.
    "skip" goes on past damage and keeps all that can be read, which may be a state that never
    was. Both do no more than a start where nothing is damaged. All that is taken out of the
    log is kept beside it under names that end in `.broken`. `progress` is called with the bytes
    of log that were read and those that are to be read, over all the times that this takes;
    each further damage adds one. `clock` gives milliseconds since 1970.

    Raises DatabaseLocked, DatabaseDamaged where that does not help (a snapshot is gone; restore
    a backup), and OSError.
    """
    fs = fs or OsFileSystem()
    layout = Layout(Path(path))
    passes = Passes(progress, 2 if how == "cut" else 1)
    with held(fs, layout, reading=False):
        before = set(fs.listdir(layout.wal)) if fs.exists(layout.wal) else set()
        if how == "cut":
            _cut(fs, layout, passes)
    log = LogOptions(recovery="skip_corrupt") if how == "skip" else LogOptions()
    store, unlock = open_store(
        layout.root,
        replace(StorageOptions(), log=log),
        fs=fs,
        clock=clock,
        monotonic=lambda: time.monotonic_ns() // 1_000_000,
        new_id=lambda: str(uuid.uuid4()),
        keep_limits=True,
        progress=passes.next(),
    )
    try:
        store.close()
    finally:
        unlock()
    report = store.recovered.report
    new = set(fs.listdir(layout.wal)) - before
    return RepairReport(
        saved=sorted(name for name in new if name.endswith(".broken")),
        skipped_records=report.skipped_records,
        torn_bytes=report.torn_bytes,
        last_sequence=report.last_sequence,
        last_offset=report.head,
    )


def _cut(fs: FileSystem, layout: Layout, passes: Passes) -> None:
    """Cut before the first damage, again until none is left or no cut can help."""
    cut_at = -1
    while True:
        try:
            read_directory(fs, layout, StorageOptions(), passes.next())
        except DatabaseDamaged as error:
            damage = error.__cause__
            if not isinstance(damage, LogDamaged):
                raise
            at = _where_to_cut(fs, layout, damage)
            if at is None or at == cut_at:
                raise
            cut_at = at
            _cut_from(fs, layout, at)
        else:
            return


def _where_to_cut(fs: FileSystem, layout: Layout, damage: LogDamaged) -> int | None:
    """The offset that the log may keep up to; None where a cut would lose what was there.

    That is where nothing would be left, and where a snapshot that can't be used reached
    further. Where not even the record that a snapshot ends with is there, all of the log goes
    and the snapshot stays.
    """
    catalog, legacy = load_catalog(fs, layout)
    newest = legacy or next(starts(fs, layout, catalog))
    if any(info.wal_offset > damage.offset for info in catalog.unusable):
        return None
    if newest.header is not None:
        return damage.offset if damage.offset > newest.header.offset else 0
    return damage.offset if damage.sequence > 1 else None


def _cut_from(fs: FileSystem, layout: Layout, offset: int) -> None:
    """Save and remove all of the log from an offset on, the newest first.

    So a crash in between leaves the damage in sight, never a log that only looks whole.
    """
    segment_id, position = split_offset(offset)
    names = fs.listdir(layout.wal)
    later = [name for name in names if name.endswith(".wal") and int(name[:16], 16) >= segment_id]
    for name in sorted(later, reverse=True):
        path = layout.wal / name
        target = layout.wal / _free_name(fs, layout, name)
        logger.warning("what is cut from %s is kept in %s", path, target)
        if int(name[:16], 16) > segment_id or not position:
            fs.rename(path, target)
        else:
            _split(fs, path, position, target)
        fs.fsync_dir(layout.wal)


def _split(fs: FileSystem, path: Path, position: int, target: Path) -> None:
    source = fs.open_append(path)
    try:
        copy = fs.create(target)
        try:
            copy_range(source, position, source.size(), copy, 0)
            copy.fsync()
        finally:
            copy.close()
        fs.fsync_dir(path.parent)
        source.truncate(position)
        source.fsync()
    finally:
        source.close()


def _free_name(fs: FileSystem, layout: Layout, name: str) -> str:
    number = 1
    while fs.exists(layout.wal / f"{name}.{number}.broken"):
        number += 1
    return f"{name}.{number}.broken"
