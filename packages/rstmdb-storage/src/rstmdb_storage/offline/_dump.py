"""A stopped database as records that JSON can hold, to look at or to take elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import rstmdb_core as core
from rstmdb_storage._errors import DatabaseDamaged
from rstmdb_storage._layout import Layout
from rstmdb_storage._starts import Start, load_catalog, starts
from rstmdb_wal import LogError
from rstmdb_wal.fs import FileSystem, OsFileSystem

from ._reading import Progress, held, oldest_first, recovery_of, watched

__all__ = ["dump_database"]

_decode = msgspec.json.Decoder().decode


def dump_database(
    path: str | Path,
    *,
    skip_damage: bool = False,
    fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what a stopped directory holds, as dicts with a `record` field.

    Where the log was compacted: first one `snapshot`, then a `machine` and an `instance` for
    each that it holds. Then an `entry` for each record of the log behind that, with its
    `sequence` and `offset`; `malformed` instead of `entry` holds the hex of what is none.
    Raises DatabaseDamaged where the log can't be read on, unless `skip_damage`;
    DatabaseLocked and OSError.
    """
    fs = fs or OsFileSystem()
    layout = Layout(Path(path))
    with held(fs, layout, reading=True):
        catalog, legacy = load_catalog(fs, layout)
        found = [legacy] if legacy else list(starts(fs, layout, catalog))
        start = oldest_first(fs, layout, found)
        del found
        if start.info is not None or start.covered is not None:
            yield from _snapshot(start)
        try:
            recovery = recovery_of(fs, layout, start, skip=skip_damage)
            for record in watched(recovery, progress):
                shown: dict[str, Any] = {
                    "record": "entry",
                    "sequence": record.sequence,
                    "offset": record.offset,
                }
                try:
                    entry = core.entry_to_json(record.kind, record.payload, record.legacy)
                    shown["entry"] = _decode(entry)
                except core.MalformedEntry:
                    shown["malformed"] = bytes(record.payload).hex()
                yield shown
        except LogError as error:
            raise DatabaseDamaged(str(error)) from error


def _snapshot(start: Start) -> Iterator[dict[str, Any]]:
    state = start.state
    info = start.info
    yield {
        "record": "snapshot",
        "snapshot_id": info.snapshot_id if info else None,
        "wal_offset": info.wal_offset if info else 0,
    }
    for (name, version), machine in state.machines.items():
        yield {
            "record": "machine",
            "machine": name,
            "version": version,
            "definition": _decode(machine.definition),
        }
    for instance_id in state.instances:
        instance = state.instances[instance_id]
        yield {
            "record": "instance",
            "instance_id": instance.id,
            "machine": instance.machine,
            "version": instance.version,
            "state": instance.state,
            "ctx": _decode(instance.ctx),
            "last_event_id": instance.last_event_id,
            "last_wal_offset": instance.last_wal_offset,
            "created_at": instance.created_at,
            "updated_at": instance.updated_at,
        }
