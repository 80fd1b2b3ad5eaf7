"""Writing a snapshot: temporary name, sync, rename, directory sync, read back, verify."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from crc32c import crc32c

from rstmdb_storage._errors import DatabaseDamaged, SnapshotFailed
from rstmdb_storage._layout import Layout
from rstmdb_wal.fs import FileSystem, write_full

from ._catalog import SnapshotInfo, reader
from ._format import SnapshotHeader, decode_blocks, encode_blocks

__all__ = ["write_snapshot"]


def write_snapshot(
    fs: FileSystem,
    layout: Layout,
    header: SnapshotHeader,
    sections: Iterable[tuple[str, list[Any]]],
) -> SnapshotInfo:
    """Write, sync and verify one snapshot file; blocking, for any thread.

    Nothing lists it yet. Raises SnapshotFailed, and leaves no file then.
    """
    path = layout.snapshot(header.snapshot_id)
    temporary = path.with_name(path.name + ".tmp")
    try:
        size, checksum = _write(fs, temporary, header, sections)
        fs.rename(temporary, path)
        fs.fsync_dir(path.parent)
        _verify(fs, path, checksum)
    except (OSError, DatabaseDamaged) as error:
        for leftover in (temporary, path):
            with contextlib.suppress(OSError):
                fs.unlink(leftover)
        raise SnapshotFailed(f"{path}: the snapshot was not written: {error}") from error
    return SnapshotInfo(
        snapshot_id=header.snapshot_id,
        kind=header.kind,
        wal_offset=header.offset,
        created_at=header.created_at,
        size_bytes=size,
        checksum=f"{checksum:08x}",
        instance_id=header.instance_id,
    )


def _write(
    fs: FileSystem, path: Any, header: SnapshotHeader, sections: Iterable[tuple[str, list[Any]]]
) -> tuple[int, int]:
    file = fs.create(path)
    position = checksum = 0
    try:
        for piece in encode_blocks(header, sections):
            write_full(file, piece, position)
            position += len(piece)
            checksum = crc32c(piece, checksum)
        file.fsync()
    finally:
        file.close()
    return position, checksum


def _verify(fs: FileSystem, path: Any, checksum: int) -> None:
    """Read the file back as a start would; what the disk gives back must be what was written."""
    file = fs.open_read(path)
    found = 0
    read = reader(file)

    def summing(size: int) -> bytes:
        nonlocal found
        data: bytes = read(size)
        found = crc32c(data, found)
        return data

    try:
        for _ in decode_blocks(summing, str(path)):
            pass
    finally:
        file.close()
    if found != checksum:
        raise DatabaseDamaged(f"{path}: reads back other than it was written")
