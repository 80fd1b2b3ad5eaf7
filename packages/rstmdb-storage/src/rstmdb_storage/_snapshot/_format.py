"""Snapshot files: a header, blocks of state, a footer; each block with its own checksum.

    at  bytes  field of the file
     0    4    magic "RSNP"
     4    2    format version, 1
     6    2    reserved, 0

then blocks, each:

    at  bytes  field of a block
     0    4    magic "RSBK"
     4    4    length of the block's stored bytes
     8    4    CRC32C of the length's four bytes and the stored bytes
    12         zstd-compressed MessagePack: {"section": name, "items": [...]}

The first block is the section "header" (one item: a SnapshotHeader), the last "footer" (one
item: the number of items of every section between them). All integers are big-endian.
Described in docs/reference/snapshot-format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import zstandard
from crc32c import crc32c

from rstmdb_storage._errors import DatabaseDamaged, NewerFormat

__all__ = ["FORMAT_VERSION", "SnapshotHeader", "decode_blocks", "encode_blocks"]

FORMAT_VERSION: Final = 1
_FILE_MAGIC: Final = b"RSNP"
_BLOCK_MAGIC: Final = b"RSBK"
_FILE_HEADER = struct.Struct(">4sHH")
_BLOCK_HEADER = struct.Struct(">4sII")
_LENGTH = struct.Struct(">I")
_MAX_BLOCK_BYTES: Final = 1 << 30

Read = Any
"""`read(size) -> bytes`: the next bytes of a file, fewer only at its end."""


class SnapshotHeader(msgspec.Struct, frozen=True):
    """What a snapshot holds: the whole state right after the record at `offset`."""

    snapshot_id: str
    kind: str
    """`full`, or `instance` for a single one."""
    database_id: bytes
    offset: int
    sequence: int
    segment_id: int
    created_at: int
    """Milliseconds since 1970, UTC."""
    instance_id: str | None = None


class _Block(msgspec.Struct):
    section: str
    items: list[Any]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Block).decode


def encode_blocks(
    header: SnapshotHeader, sections: Iterable[tuple[str, list[Any]]]
) -> Iterator[bytes]:
    """Yield the bytes of a snapshot file, piece by piece; `sections` may repeat a name."""
    yield _FILE_HEADER.pack(_FILE_MAGIC, FORMAT_VERSION, 0)
    compress = zstandard.ZstdCompressor(level=1).compress
    yield _block(compress(_encode(_Block("header", [header]))))
    counts: dict[str, int] = {}
    for section, items in sections:
        counts[section] = counts.get(section, 0) + len(items)
        yield _block(compress(_encode(_Block(section, items))))
    yield _block(compress(_encode(_Block("footer", [counts]))))


def _block(stored: bytes) -> bytes:
    length = _LENGTH.pack(len(stored))
    return _BLOCK_HEADER.pack(_BLOCK_MAGIC, len(stored), crc32c(stored, crc32c(length))) + stored


def decode_blocks(read: Read, name: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield (section, items) in order, beginning with the header, verified block by block.

    The footer's counts are checked before the iteration ends. Raises DatabaseDamaged, whose
    message names the file and the position, for anything that is not as it was written.
    """
    at = _FILE_HEADER.size
    start = read(at)
    if len(start) < at or start[:4] != _FILE_MAGIC:
        raise DatabaseDamaged(f"{name}: not a snapshot file (it begins with {start[:4]!r})")
    version = _FILE_HEADER.unpack(start)[1]
    if version != FORMAT_VERSION:
        raise NewerFormat(
            f"{name}: snapshot format {version} was written by a newer release of rstmdb"
        )
    decompress = zstandard.ZstdDecompressor().decompress
    counts: dict[str, int] = {}
    footer = None
    while footer is None:
        stored = _read_block(read, name, at)
        try:
            block = _decode(decompress(stored, max_output_size=_MAX_BLOCK_BYTES))
        except (zstandard.ZstdError, msgspec.MsgspecError) as error:
            raise DatabaseDamaged(f"{name}: the block at {at} can't be read: {error}") from error
        at += _BLOCK_HEADER.size + len(stored)
        if block.section == "footer":
            footer = block.items[0]
            break
        if block.section != "header":
            counts[block.section] = counts.get(block.section, 0) + len(block.items)
        yield block.section, block.items
    if footer != counts:
        raise DatabaseDamaged(f"{name}: holds {counts}, its footer says {footer}")
    if read(1):
        raise DatabaseDamaged(f"{name}: bytes follow the footer at {at}")


def _read_block(read: Read, name: str, at: int) -> bytes:
    head = read(_BLOCK_HEADER.size)
    if len(head) < _BLOCK_HEADER.size:
        raise DatabaseDamaged(f"{name}: ends at {at + len(head)}, before its footer")
    magic, length, checksum = _BLOCK_HEADER.unpack(head)
    if magic != _BLOCK_MAGIC:
        raise DatabaseDamaged(f"{name}: no block begins at {at}")
    stored: bytes = read(length) if length <= _MAX_BLOCK_BYTES else b""
    if len(stored) < length:
        raise DatabaseDamaged(f"{name}: the block at {at} is cut short")
    if crc32c(stored, crc32c(head[4:8])) != checksum:
        raise DatabaseDamaged(f"{name}: the block at {at} does not match its checksum")
    return stored
