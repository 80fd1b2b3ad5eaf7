"""A first look at each segment: whose it is, and whether its beginning can be read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple

from rstmdb_wal._scan import only_zeros
from rstmdb_wal._segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    decode_header,
    legacy_first_sequence,
    segment_id_of,
)
from rstmdb_wal.fs import FileSystem, read_full


class Look(Enum):
    """What the first bytes of a segment say."""

    OURS = "ours"
    LEGACY = "legacy"
    EMPTY = "empty"  # nothing or only zeros: no record ever got into it
    TORN = "torn"  # a header that cannot be read, and nothing behind it
    UNREADABLE = "unreadable"


class Seen(NamedTuple):
    """A segment file as found. ``first_sequence`` is 0 where none can be read."""

    segment_id: int
    path: Path
    size: int
    look: Look
    header: SegmentHeader | None
    first_sequence: int


def look_at(fs: FileSystem, path: Path, segment_id: int) -> Seen:
    """Read the beginning of a segment. Raises ``UnknownFormat``, ``OSError``."""
    file = fs.open_read(path)
    try:
        size = file.size()
        data = read_full(file, SEGMENT_HEADER_BYTES, 0)
        header = decode_header(data, str(path))
        if header is not None:
            return Seen(segment_id, path, size, Look.OURS, header, header.first_sequence)
        sequence = legacy_first_sequence(data)
        if sequence is not None:
            return Seen(segment_id, path, size, Look.LEGACY, None, sequence)
        look = Look.UNREADABLE
        if only_zeros(file, SEGMENT_HEADER_BYTES, size):
            look = Look.TORN if data.strip(b"\0") else Look.EMPTY
        return Seen(segment_id, path, size, look, None, 0)
    finally:
        file.close()


def look_at_all(fs: FileSystem, directory: Path, names: list[str]) -> list[Seen]:
    """Look at every segment in the directory, in order of their ids."""
    ids = sorted((number, name) for name in names if (number := segment_id_of(name)) is not None)
    return [look_at(fs, directory / name, number) for number, name in ids]
