"""The receive buffer: bytes in, whole frames or lines out, in either wire mode."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from ._checksum import crc32c
from ._errors import FrameError
from ._frame import (
    FLAG_COMPRESSED,
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    PLAIN_PREFIX,
    bad_magic,
    check_payload,
    parse_header,
    unpack_size_and_crc,
)

__all__ = ["ReceiveBuffer", "WireMode"]


class WireMode(StrEnum):
    """How messages are put on the wire."""

    BINARY_JSON = "binary_json"
    JSONL = "jsonl"


class ReceiveBuffer:
    """Cuts a byte stream into message payloads.

    Bytes arrive in `feed`; `payloads` yields each whole message. The wire mode may change
    between two payloads, as HELLO asks; what follows is then cut in the new mode.

    Bytes that arrive whole are cut from the chunk as received. Only an unfinished message
    is copied into a growing buffer, once, until the length that its header names is there.
    """

    __slots__ = ("_at", "_chunk", "_needed", "_partial", "allow_compressed", "max_bytes", "mode")

    def __init__(
        self, mode: WireMode | None = None, max_payload_bytes: int = MAX_PAYLOAD_BYTES
    ) -> None:
        self.mode = mode
        """None until the first byte has told: `{` means JSON lines, all else frames."""
        self.max_bytes = max_payload_bytes
        self.allow_compressed = False
        self._chunk: bytes = b""
        self._at = 0
        self._partial = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> None:
        """Take in bytes as they arrived."""
        if self.mode is None and data:
            self.mode = WireMode.JSONL if data[0] == 0x7B else WireMode.BINARY_JSON
        if self._at < len(self._chunk):
            # The iteration was given up: these bytes were not looked at, `_needed` is 0.
            self._partial += self._chunk[self._at :]
        self._chunk = b""
        self._at = 0
        if not self._partial:
            self._chunk = data
            return
        searched = len(self._partial)
        self._partial += data
        if self._needed:
            if self.mode is WireMode.JSONL:
                if self._partial.find(b"\n", searched) < 0 and len(self._partial) <= self.max_bytes:
                    return
            elif len(self._partial) < self._needed:
                return
        self._chunk = bytes(self._partial)
        self._partial.clear()

    @property
    def pending_bytes(self) -> int:
        """Bytes that were received and not yet handed out."""
        return len(self._chunk) - self._at + len(self._partial)

    def payloads(self) -> Iterator[bytes]:
        """Yield the payload of each whole message, decompressed and checked.

        Raises FrameError or VersionError; the stream can't be read on after either.
        """
        while self._at < len(self._chunk):
            if self.mode is WireMode.JSONL:
                yield from self._lines()
            else:
                yield from self._frames()
            if self._needed:
                return

    def _frames(self) -> Iterator[bytes]:
        chunk = self._chunk
        end = len(chunk)
        at = self._at
        self._needed = 0
        while self.mode is WireMode.BINARY_JSON:
            if end - at < HEADER_BYTES:
                if at < end:
                    self._check_magic(chunk[at:])
                    self._keep(at, HEADER_BYTES)
                return
            if chunk.startswith(PLAIN_PREFIX, at):  # what nearly every frame begins with
                size, checksum = unpack_size_and_crc(chunk, at + 10)
                flags, start = 1, at + HEADER_BYTES
                if size > self.max_bytes:
                    parse_header(chunk, at, self.max_bytes)  # says what is wrong
            else:
                flags, extension, size, checksum = parse_header(chunk, at, self.max_bytes)
                start = at + HEADER_BYTES + extension
            if end < start + size:
                self._keep(at, start + size - at)
                return
            payload = chunk[start : start + size]
            self._at = at = start + size
            if flags == 1:
                if crc32c(payload) != checksum:
                    check_payload(payload, flags, checksum, self.max_bytes)
            else:
                self._check_flags(flags)
                payload = check_payload(payload, flags, checksum, self.max_bytes)
            yield payload

    def _keep(self, at: int, needed: int) -> None:
        """Move the unfinished message to the growing buffer."""
        self._partial += self._chunk[at:]
        self._chunk = b""
        self._at = 0
        self._needed = needed

    @staticmethod
    def _check_magic(start: bytes) -> None:
        if not MAGIC.startswith(start[:4]):
            raise bad_magic(start[:4])

    def _check_flags(self, flags: int) -> None:
        if flags & FLAG_COMPRESSED and not self.allow_compressed:
            raise FrameError("a COMPRESSED frame, but the feature zstd was not agreed in HELLO")

    def _lines(self) -> Iterator[bytes]:
        self._needed = 0
        while self.mode is WireMode.JSONL:
            chunk = self._chunk
            end = chunk.find(b"\n", self._at)
            length = (len(chunk) if end < 0 else end) - self._at
            if length > self.max_bytes:
                raise FrameError(f"a line is over the limit of {self.max_bytes} bytes")
            if end < 0:
                if length:
                    self._keep(self._at, length + 1)
                return
            line = chunk[self._at : end].rstrip(b"\r")
            self._at = end + 1
            if line.strip():
                yield line
