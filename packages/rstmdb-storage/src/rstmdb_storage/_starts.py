"""Where a replay can begin: at a snapshot that verifies, at what the original left, at nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from crc32c import crc32c

import rstmdb_core as core
from rstmdb_core import State
from rstmdb_wal import LogOptions, Recovery
from rstmdb_wal.fs import FileSystem, read_bytes

from ._errors import DatabaseDamaged, NewerFormat
from ._layout import Layout
from ._legacy import has_legacy_snapshots, load_legacy_snapshots, rebuild_legacy_index
from ._snapshot import (
    Catalog,
    SnapshotHeader,
    SnapshotInfo,
    decode_blocks,
    is_legacy_index,
    reader,
)

__all__ = ["Start", "load_catalog", "recovery_from", "starts"]

logger = logging.getLogger("rstmdb.recovery")


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


def recovery_from(fs: FileSystem, layout: Layout, options: LogOptions, start: Start) -> Recovery:
    """A recovery that reads the log behind a start."""
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
