"""index.json, the list of snapshots, and the files that it names.

Ours: {"rstmdb_format": 1, "checksum": c, "snapshots": [{snapshot_id, kind, wal_offset,
created_at, size_bytes, checksum, instance_id?}, ...]}, oldest first; c is the CRC32C, in hex, of
the list as compact JSON. The original's is an object from
instance id to {snapshot_id, instance_id, wal_offset, created_at, size_bytes, checksum}.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import msgspec
from crc32c import crc32c

from rstmdb_storage._errors import DatabaseDamaged, NewerFormat
from rstmdb_storage._layout import Layout
from rstmdb_wal.fs import File, FileSystem, read_bytes, replace_file

from ._format import SnapshotHeader, decode_blocks

__all__ = ["Catalog", "SnapshotInfo", "is_legacy_index", "read_header", "reader"]

logger = logging.getLogger("rstmdb.recovery")

INDEX_FORMAT = 1
KEPT_FULL_SNAPSHOTS = 2
"""The newest, and one to fall back to while the log still reaches back that far."""


class SnapshotInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One snapshot file; `checksum` is the CRC32C of the whole file in hex, "" if unknown."""

    snapshot_id: str
    kind: str
    wal_offset: int
    created_at: int
    size_bytes: int
    checksum: str
    instance_id: str | None = None


class _Index(msgspec.Struct):
    rstmdb_format: int
    checksum: str
    snapshots: list[SnapshotInfo]


def _checksum(snapshots: list[SnapshotInfo]) -> str:
    return f"{crc32c(msgspec.json.encode(snapshots)):08x}"


def is_legacy_index(data: bytes) -> bool:
    """Whether index.json is the original's: an object of objects, by instance id."""
    try:
        content = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and all(
        isinstance(listed, dict) and "snapshot_id" in listed for listed in content.values()
    )


def reader(file: File) -> Any:
    """A function that reads on through a file, as `decode_blocks` wants it."""
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        pieces = []
        while size:
            piece = file.pread(size, at)
            if not piece:
                break
            pieces.append(piece)
            at += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    return read


def read_header(fs: FileSystem, layout: Layout, snapshot_id: str) -> SnapshotHeader:
    """The first block of a snapshot file. Raises DatabaseDamaged and OSError."""
    path = layout.snapshot(snapshot_id)
    file = fs.open_read(path)
    try:
        _, items = next(decode_blocks(reader(file), str(path)))
        return msgspec.convert(items[0], SnapshotHeader)
    except msgspec.ValidationError as error:
        raise DatabaseDamaged(f"{path}: its header can't be read: {error}") from error
    finally:
        file.close()


class Catalog:
    """The snapshots of one directory, oldest first.

    `unusable` are files that did not verify; they go once a newer snapshot is relied on.
    `legacy` tells that the directory's index is the original's: nothing of ours may take its
    place before a full snapshot holds what it lists.
    """

    def __init__(self, fs: FileSystem, layout: Layout, snapshots: list[SnapshotInfo]) -> None:
        self._fs = fs
        self._layout = layout
        self.snapshots = snapshots
        self.unusable: list[SnapshotInfo] = []
        self.legacy = False

    @classmethod
    def load(cls, fs: FileSystem, layout: Layout) -> Catalog:
        """Read the index, or rebuild it from the files when it is missing or damaged.

        Raises NewerFormat and OSError.
        """
        listed, problem = _read_index(fs, layout)
        known = {info.snapshot_id for info in listed}
        names = fs.listdir(layout.snapshots) if fs.exists(layout.snapshots) else []
        for name in names:
            snapshot_id, dot, suffix = name.rpartition(".")
            if dot and suffix == "snap" and snapshot_id not in known:
                # Written and verified, and the crash came before it was listed; or the
                # index is gone. Opening verifies it whole before relying on it.
                try:
                    listed.append(_describe(fs, layout, snapshot_id))
                except NewerFormat:
                    raise
                except DatabaseDamaged as error:
                    logger.debug("a file that nothing lists is passed over: %s", error)
        listed.sort(key=lambda info: (info.wal_offset, info.created_at))
        if problem is not None and (listed or problem.is_damage):
            logger.warning("%s; rebuilt from the snapshot files", problem.text)
        return cls(fs, layout, listed)

    def remove_leftovers(self) -> None:
        """Remove temporary files of writes that a crash cut short."""
        for name in self._fs.listdir(self._layout.snapshots):
            if name.endswith(".tmp"):
                self._fs.unlink(self._layout.snapshots / name)

    @property
    def full(self) -> list[SnapshotInfo]:
        """Snapshots of the whole state, oldest first."""
        return [info for info in self.snapshots if info.kind == "full"]

    def set_aside(self, info: SnapshotInfo) -> None:
        """Rely on this one no more."""
        self.snapshots = [other for other in self.snapshots if other is not info]
        self.unusable.append(info)

    def with_added(self, added: SnapshotInfo) -> tuple[list[SnapshotInfo], list[SnapshotInfo]]:
        """The list with a new snapshot, and those that it makes superfluous."""
        kept = [info for info in self.snapshots if info.snapshot_id != added.snapshot_id]
        kept.append(added)
        full = [info for info in kept if info.kind == "full"]
        gone = full[:-KEPT_FULL_SNAPSHOTS]
        if added.kind == "full":
            gone += [info for info in kept if info.kind != "full"]
            gone += [info for info in self.unusable if info.snapshot_id != added.snapshot_id]
        else:
            gone += [
                info
                for info in kept[:-1]
                if info.kind == "instance" and info.instance_id == added.instance_id
            ]
        return [info for info in kept if info not in gone], gone

    def write(self, snapshots: list[SnapshotInfo]) -> None:
        """Put a list on disk, durably; blocking, for any thread."""
        index = _Index(INDEX_FORMAT, _checksum(snapshots), snapshots)
        data = msgspec.json.format(msgspec.json.encode(index))
        replace_file(self._fs, self._layout.index, data)

    def written(self, snapshots: list[SnapshotInfo], gone: list[SnapshotInfo]) -> None:
        """Take note that this list is on disk, and which files it makes superfluous."""
        self.snapshots = snapshots
        self.unusable = [info for info in self.unusable if info not in gone]
        self.legacy = False

    def remove_files(self, gone: list[SnapshotInfo]) -> None:
        """Delete files that the index names no more; what is left over does no harm."""
        for info in gone:
            with contextlib.suppress(OSError):
                self._fs.unlink(self._layout.snapshot(info.snapshot_id))


class _Format(msgspec.Struct):
    rstmdb_format: int


class _Problem(msgspec.Struct):
    text: str
    is_damage: bool


def _read_index(fs: FileSystem, layout: Layout) -> tuple[list[SnapshotInfo], _Problem | None]:
    try:
        data = read_bytes(fs, layout.index)
    except FileNotFoundError:
        return [], _Problem("index.json is missing", False)
    try:
        version = msgspec.json.decode(data, type=_Format).rstmdb_format
        if version != INDEX_FORMAT:
            raise NewerFormat(
                f"{layout.index}: format {version} was written by a newer release of rstmdb"
            )
        index = msgspec.json.decode(data, type=_Index)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return [], _Problem(f"index.json can't be read: {error}", True)
    if index.checksum != _checksum(index.snapshots):
        return [], _Problem("index.json does not match its checksum", True)
    return index.snapshots, None


def _describe(fs: FileSystem, layout: Layout, snapshot_id: str) -> SnapshotInfo:
    header = read_header(fs, layout, snapshot_id)
    return SnapshotInfo(
        snapshot_id=snapshot_id,
        kind=header.kind,
        wal_offset=header.offset,
        created_at=header.created_at,
        size_bytes=fs.file_size(layout.snapshot(snapshot_id)),
        checksum="",
        instance_id=header.instance_id,
    )
