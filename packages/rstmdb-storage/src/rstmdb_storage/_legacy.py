"""The original's snapshots: one indented JSON file an instance, listed in index.json.

index.json maps instance ids to {snapshot_id, instance_id, wal_offset, created_at, size_bytes,
checksum}; `<snapshot_id>.snap` holds {snapshot_id, instance_id, machine, version, state, ctx,
wal_offset, created_at}; the checksum is the CRC32C of that file as eight hex digits. They are
read, never written.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
from crc32c import crc32c

from rstmdb_core import Instance, State
from rstmdb_wal.fs import FileSystem, read_bytes

from ._errors import DatabaseDamaged
from ._layout import Layout

__all__ = ["has_legacy_snapshots", "load_legacy_snapshots", "rebuild_legacy_index"]

logger = logging.getLogger("rstmdb.recovery")


class _Listed(msgspec.Struct):
    snapshot_id: str
    instance_id: str
    wal_offset: int
    checksum: str | None = None
    created_at: int = 0


class _Snapshot(msgspec.Struct):
    instance_id: str
    machine: str
    version: int
    state: str
    wal_offset: int
    ctx: dict[str, Any] = {}
    created_at: int = 0


def has_legacy_snapshots(fs: FileSystem, layout: Layout) -> bool:
    """Whether there are snapshot files of the original: JSON objects."""
    return any(read_bytes(fs, path)[:1] == b"{" for path in _snapshot_files(fs, layout))


def rebuild_legacy_index(fs: FileSystem, layout: Layout) -> bytes:
    """An index like the original's from its snapshot files: the newest of each instance.

    Raises DatabaseDamaged for one that can't be read: its instance may be nowhere else.
    """
    newest: dict[str, _Listed] = {}
    for path in _snapshot_files(fs, layout):
        data = read_bytes(fs, path)
        if data[:1] != b"{":
            continue
        try:
            found = msgspec.json.decode(data, type=_Snapshot)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DatabaseDamaged(f"{path}: can't be read: {error}") from error
        known = newest.get(found.instance_id)
        if known is None or known.wal_offset < found.wal_offset:
            name = path.name.removesuffix(".snap")
            newest[found.instance_id] = _Listed(name, found.instance_id, found.wal_offset)
    logger.warning("%s is missing or damaged; rebuilt from the snapshot files", layout.index)
    return msgspec.json.encode(newest)


def _snapshot_files(fs: FileSystem, layout: Layout) -> list[Path]:
    if not fs.exists(layout.snapshots):
        return []
    names = fs.listdir(layout.snapshots)
    return [layout.snapshots / name for name in names if name.endswith(".snap")]


def load_legacy_snapshots(
    fs: FileSystem, layout: Layout, index: bytes
) -> tuple[State, dict[str, int]]:
    """A state with the instances of all snapshots, and up to which offset each is covered.

    Raises DatabaseDamaged for a snapshot that is listed and can't be read: its instance may
    be in no log segment any more.
    """
    try:
        listed = msgspec.json.decode(index, type=dict[str, _Listed])
    except msgspec.MsgspecError as error:
        raise DatabaseDamaged(f"{layout.index}: can't be read: {error}") from error
    instances = []
    covered = {}
    for entry in sorted(listed.values(), key=lambda item: item.wal_offset):
        snapshot = _read(fs, layout, entry)
        covered[snapshot.instance_id] = snapshot.wal_offset
        instances.append(
            Instance(
                id=snapshot.instance_id,
                machine=snapshot.machine,
                version=snapshot.version,
                state=snapshot.state,
                ctx=msgspec.json.encode(snapshot.ctx),
                last_event_id=None,
                last_wal_offset=snapshot.wal_offset,
                created_at=snapshot.created_at,
                updated_at=snapshot.created_at,
                created_offset=snapshot.wal_offset,
                state_offset=snapshot.wal_offset,
            )
        )
    state = State.load([("instances", instances)])
    logger.info("read %d instance snapshots of the original", len(instances))
    return state, covered


def _read(fs: FileSystem, layout: Layout, entry: _Listed) -> _Snapshot:
    name = entry.snapshot_id
    if "/" in name or "\0" in name or name.startswith("."):
        raise DatabaseDamaged(f"{layout.index}: {name!r} is no snapshot id")
    path = layout.snapshot(name)
    try:
        data = read_bytes(fs, path)
        snapshot = msgspec.json.decode(data, type=_Snapshot)
    except FileNotFoundError as error:
        raise DatabaseDamaged(f"{path}: is listed in index.json and missing") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DatabaseDamaged(f"{path}: can't be read: {error}") from error
    if entry.checksum is not None and f"{crc32c(data):08x}" != entry.checksum.lower():
        raise DatabaseDamaged(
            f"{path}: its CRC32C is {crc32c(data):08x}, index.json says {entry.checksum}"
        )
    return snapshot
