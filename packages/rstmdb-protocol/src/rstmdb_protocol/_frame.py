"""RCP frames: an 18-byte header, an extension that is skipped, and one JSON message.

    at  bytes  field
     0    4    magic "RCPX"
     4    2    version, 1
     6    2    flags: 0x1 CRC_PRESENT, 0x2 COMPRESSED, 0x4 STREAM, 0x8 END_STREAM
     8    2    length of the header extension
    10    4    length of the payload, at most 16 MiB
    14    4    CRC32C (Castagnoli, RFC 3720) of the payload as sent, 0 without CRC_PRESENT

All integers are big-endian. Described in docs/reference/wire-protocol.
"""

from __future__ import annotations

import struct
from typing import Final

from ._checksum import crc32c
from ._errors import FrameError, LocalProtocolError, VersionError

__all__ = [
    "COMPRESS_FROM_BYTES",
    "FLAG_COMPRESSED",
    "FLAG_CRC_PRESENT",
    "FLAG_END_STREAM",
    "FLAG_STREAM",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_PAYLOAD_BYTES",
    "PROTOCOL_VERSION",
    "bad_magic",
    "compress_payload",
    "decompress_payload",
    "encode_frame",
    "encode_plain_frame",
    "encode_stream_frame",
    "parse_header",
]

MAGIC: Final = b"RCPX"
PROTOCOL_VERSION: Final = 1
HEADER_BYTES: Final = 18
MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
COMPRESS_FROM_BYTES: Final = 4096

FLAG_CRC_PRESENT: Final = 0x1
FLAG_COMPRESSED: Final = 0x2
FLAG_STREAM: Final = 0x4
FLAG_END_STREAM: Final = 0x8
KNOWN_FLAGS: Final = FLAG_CRC_PRESENT | FLAG_COMPRESSED | FLAG_STREAM | FLAG_END_STREAM

_OTHERS = (
    (b"\x16\x03", "TLS, which is not spoken here"),  # a handshake
    (b"\x15\x03", "TLS: connect with it"),  # an alert: no handshake came
    (b"HTTP", "HTTP"),
    (b"GET ", "HTTP"),
    (b"POST", "HTTP"),
    (b"{", "JSON lines, but HELLO chose frames"),
)
"""What peers begin with that are mistaken about the protocol."""

_HEADER = struct.Struct(">4sHHHII")
PLAIN_PREFIX: Final = MAGIC + struct.pack(">HHH", PROTOCOL_VERSION, FLAG_CRC_PRESENT, 0)
"""The first 10 bytes of a frame with a CRC, no other flag and no extension."""
_PREFIXES: Final = {
    flags: MAGIC + struct.pack(">HHH", PROTOCOL_VERSION, flags, 0) for flags in range(16)
}
_STREAM_PREFIX: Final = _PREFIXES[FLAG_CRC_PRESENT | FLAG_STREAM]
_PLAIN = struct.Struct(">10sII")
unpack_plain: Final = _PLAIN.unpack_from
"""Read a header as if it had no extension: the first 10 bytes, length of the payload, CRC."""
_pack_plain = _PLAIN.pack


def encode_frame(payload: bytes, flags: int = 0) -> bytes:
    """Frame a message's bytes; CRC_PRESENT is always set.

    Raises LocalProtocolError for a payload above 16 MiB.
    """
    size = len(payload)
    if size > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(
            f"a message of {size} bytes does not fit a frame of {MAX_PAYLOAD_BYTES} bytes"
        )
    return _pack_plain(_PREFIXES[flags | FLAG_CRC_PRESENT], size, crc32c(payload)) + payload


def encode_plain_frame(payload: bytes) -> bytes:
    """Frame a message of at most 16 MiB, which is not checked, with CRC_PRESENT alone."""
    return _pack_plain(PLAIN_PREFIX, len(payload), crc32c(payload)) + payload


def encode_stream_frame(payload: bytes) -> bytes:
    """Frame an event of at most 16 MiB, which is not checked, with CRC_PRESENT and STREAM."""
    return _pack_plain(_STREAM_PREFIX, len(payload), crc32c(payload)) + payload


def parse_header(data: bytes, at: int, max_payload_bytes: int) -> tuple[int, int, int, int]:
    """Read the header at `at`: flags, length of the extension, length of the payload, CRC.

    `data` holds at least 18 bytes from `at` on. Everything that can be refused from the
    header is refused here, before memory is taken for the payload.

    Raises FrameError or VersionError.
    """
    magic, version, flags, extension, size, checksum = _HEADER.unpack_from(data, at)
    if magic != MAGIC:
        raise bad_magic(magic)
    if version != PROTOCOL_VERSION:
        raise VersionError(
            f"frame version {version} is not supported, only version {PROTOCOL_VERSION}"
        )
    if flags & ~KNOWN_FLAGS:
        raise FrameError(f"unknown flag bits {flags & ~KNOWN_FLAGS:#06x} in a frame header")
    if size > max_payload_bytes:
        raise FrameError(f"a frame of {size} bytes is over the limit of {max_payload_bytes} bytes")
    return flags, extension, size, checksum


def bad_magic(start: bytes) -> FrameError:
    """The error for what begins like no frame, with a guess at what it is instead."""
    known = (guess for prefix, guess in _OTHERS if prefix.startswith(start[: len(prefix)]))
    guess = next(known, None)
    looks = "" if guess is None else f", and this looks like {guess}"
    return FrameError(f"bad magic {start!r}: a frame begins with {MAGIC!r}{looks}")


def check_payload(
    payload: bytes | bytearray,
    flags: int,
    checksum: int,
    max_bytes: int,
    crc: int | None = None,
) -> bytes | bytearray:
    """Verify the CRC where the flags name one, and decompress where they say so.

    `crc` is the payload's, where it was computed before. Raises FrameError for a mismatch or
    for a payload that does not decompress to at most `max_bytes` bytes.
    """
    if flags & FLAG_CRC_PRESENT:
        crc = crc32c(payload) if crc is None else crc
        if crc != checksum:
            raise FrameError(
                f"CRC mismatch: the header says {checksum:08x}, the payload's CRC32C is {crc:08x}"
            )
    return decompress_payload(payload, max_bytes) if flags & FLAG_COMPRESSED else payload


def compress_payload(payload: bytes) -> bytes:
    """One zstd frame (RFC 8878) that names its content size.

    Raises LocalProtocolError for more than 16 MiB of content, however small it becomes.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(
            f"a message of {len(payload)} bytes is over the limit of {MAX_PAYLOAD_BYTES} bytes"
        )
    import zstandard  # late, as few clients need it: see docs/decisions/0006-start-up.md

    return zstandard.ZstdCompressor(level=1).compress(payload)


def decompress_payload(payload: bytes | bytearray, limit: int = MAX_PAYLOAD_BYTES) -> bytes:
    """Decompress exactly one zstd frame of at most `limit` bytes of content.

    A declared size above the limit is refused before memory is taken, an undeclared one
    as soon as the limit is passed. Raises FrameError, also for a frame that is cut short
    and for bytes after it.
    """
    import zstandard  # late, as above

    try:
        declared = zstandard.get_frame_parameters(payload).content_size
        unknown = declared in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
        if not unknown and declared > limit:
            raise FrameError(
                f"a compressed payload of {declared} bytes is over the limit of {limit} bytes"
            )
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_PAYLOAD_BYTES)
        content = decompressor.decompress(payload, max_output_size=limit, allow_extra_data=False)
        if unknown:
            # Then zstandard overlooks extra data, unless the content has exactly the limit.
            # Decompressing again shows it, and is bounded now by the content's known size.
            again = decompressor.decompressobj()
            again.decompress(payload)
            if again.unused_data:
                raise zstandard.ZstdError(f"{len(again.unused_data)} bytes follow the frame")
    except (zstandard.ZstdError, MemoryError) as error:
        raise FrameError(
            f"a payload that is not one zstd frame of at most {limit} bytes of content: {error}"
        ) from error
    return content
