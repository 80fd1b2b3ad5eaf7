"""Snapshots: their format, how one is written, and the index that lists them."""

from ._catalog import Catalog, SnapshotInfo, is_legacy_index, read_header, reader
from ._format import SnapshotHeader, decode_blocks, encode_blocks
from ._writer import write_snapshot

__all__ = [
    "Catalog",
    "SnapshotHeader",
    "SnapshotInfo",
    "decode_blocks",
    "encode_blocks",
    "is_legacy_index",
    "read_header",
    "reader",
    "write_snapshot",
]
