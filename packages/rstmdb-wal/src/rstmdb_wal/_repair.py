"""The changes that recovery makes to the last segment, each synced before the next."""

from __future__ import annotations

from pathlib import Path

from rstmdb_wal._segment import SegmentHeader, broken_name, encode_header
from rstmdb_wal.fs import FileSystem, copy_range, write_full


def cut_tail(fs: FileSystem, path: Path, position: int, names: list[str]) -> str:
    """Copy what lies from ``position`` on to a file of its own, then cut it off.

    Returns the name of the copy, which is new: ``<segment>.<n>.broken``. The copy and its name
    are on disk before the cut is made. Raises ``OSError``.
    """
    target = path.with_name(broken_name(path.name, names))
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
    names.append(target.name)
    return target.name


def rewrite(fs: FileSystem, path: Path, start: int, end: int) -> None:
    """Write bytes ``start`` to ``end`` again in place, drop what lies behind, sync.

    After a failed sync the kernel may hold pages that look written and clean but are not on
    disk; writing them makes them dirty again, so that this sync is one to believe. Behind
    ``end`` there are only zeros. Raises ``OSError``.
    """
    file = fs.open_append(path)
    try:
        copy_range(file, start, end, file, start)
        if file.size() > end:
            file.truncate(end)
        file.fsync()
    finally:
        file.close()


def rewrite_header(fs: FileSystem, path: Path, header: SegmentHeader) -> None:
    """Begin a segment anew that holds no record. Raises ``OSError``."""
    file = fs.open_append(path)
    try:
        file.truncate(0)
        write_full(file, encode_header(header), 0)
        file.fsync()
    finally:
        file.close()
