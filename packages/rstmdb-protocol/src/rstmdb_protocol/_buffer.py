"""The receive buffer: bytes in, whole messages out, in either wire mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, TypeVar

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
    unpack_plain,
)
from ._unfinished import UnfinishedFrame, UnfinishedLine

__all__ = ["ReceiveBuffer", "WireMode"]

Message = TypeVar("Message")


class WireMode(StrEnum):
    """How messages are put on the wire."""

    BINARY_JSON = "binary_json"
    JSONL = "jsonl"


_BINARY: Final = WireMode.BINARY_JSON  # to look up a member of an enum takes a while


class ReceiveBuffer:
    """Cuts a byte stream into messages.

    Bytes arrive in `feed`; `messages` yields each whole message, decoded. The wire mode may
    change between two of them, as HELLO asks; what follows is then cut in the new mode.

    What arrives whole is cut from the chunk as received. Only a message without its end is
    copied into a buffer of its own, once, until the length that its header names is there.
    """

    __slots__ = ("_at", "_chunk", "_unfinished", "allow_compressed", "max_bytes", "mode")

    def __init__(
        self, mode: WireMode | None = None, max_payload_bytes: int = MAX_PAYLOAD_BYTES
    ) -> None:
        self.mode = mode
        """None until the first byte has told: `{` means JSON lines, all else frames."""
        self.max_bytes = max_payload_bytes
        self.allow_compressed = False
        self._chunk: bytes = b""
        self._at = 0
        self._unfinished: UnfinishedFrame | UnfinishedLine | None = None

    def feed(self, data: bytes) -> None:
        """Take in bytes as they arrived."""
        if self.mode is None and data:
            self.mode = WireMode.JSONL if data[0] == 0x7B else WireMode.BINARY_JSON
        unfinished = self._unfinished
        if unfinished is not None and not unfinished.whole:
            data = unfinished.add(data)
        elif self._at < len(self._chunk):  # a header without its end, or not looked at yet
            data = self._chunk[self._at :] + data
        self._chunk = data
        self._at = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes that were received and not yet handed out."""
        unfinished = self._unfinished
        waiting = len(self._chunk) - self._at
        return waiting if unfinished is None else waiting + len(unfinished)

    def messages(self, decode: Callable[[bytes | bytearray], Message]) -> Iterator[Message]:
        """Yield what `decode` makes of each whole message, decompressed and checked.

        A message of many KiB is a bytearray that nobody else holds. The iteration may be given
        up and taken up again by another call.

        Raises FrameError or VersionError, and what `decode` does; the stream can't be read on.
        """
        unfinished = self._unfinished
        if unfinished is not None and unfinished.whole:
            self._unfinished = None
            payload = unfinished.finish(self.max_bytes)
            if payload is not None:
                yield decode(payload)
        while self._at < len(self._chunk):
            if self.mode is _BINARY:
                # The hot path: frames with a CRC and nothing else, whole within the chunk.
                chunk = self._chunk
                at = self._at
                end = len(chunk)
                start = at + HEADER_BYTES
                while start <= end:
                    prefix, size, checksum = unpack_plain(chunk, at)
                    at = start + size
                    payload = chunk[start:at]
                    if (
                        prefix != PLAIN_PREFIX
                        or at > end
                        or size > self.max_bytes
                        or crc32c(payload) != checksum
                    ):
                        break
                    self._at = at
                    yield decode(payload)
                    if self.mode is not _BINARY or self._chunk is not chunk:
                        break
                    start = at + HEADER_BYTES
                if self._chunk is not chunk or self._at == len(chunk):
                    continue
            jsonl = self.mode is WireMode.JSONL
            payload = self._cut_line() if jsonl else self._cut_frame()
            if payload is not None:
                yield decode(payload)
            elif not jsonl or self._unfinished is not None:
                return

    def _cut_frame(self) -> bytes | bytearray | None:
        """The payload of any one frame; None where its end has not arrived."""
        chunk = self._chunk
        at = self._at
        if len(chunk) - at < HEADER_BYTES:
            if not MAGIC.startswith(chunk[at : at + 4]):
                raise bad_magic(chunk[at : at + 4])
            return None
        flags, extension, size, checksum = parse_header(chunk, at, self.max_bytes)
        if flags & FLAG_COMPRESSED and not self.allow_compressed:
            raise FrameError("a COMPRESSED frame, but the feature zstd was not agreed in HELLO")
        start = at + HEADER_BYTES + extension
        if start > len(chunk):
            return None
        if start + size > len(chunk):
            self._unfinished = UnfinishedFrame(flags, start - at, size, checksum)
            self._unfinished.add(chunk[start:])
            self._chunk = b""
            self._at = 0
            return None
        self._at = start + size
        return check_payload(chunk[start : self._at], flags, checksum, self.max_bytes)

    def _cut_line(self) -> bytes | None:
        """The next line without its break; None for a blank one, or one that has no end yet."""
        at = self._at
        end = self._chunk.find(b"\n", at)
        length = (len(self._chunk) if end < 0 else end) - at
        if length > self.max_bytes:
            raise FrameError(f"a line is over the limit of {self.max_bytes} bytes")
        if end < 0:
            self._unfinished = UnfinishedLine(self.max_bytes)
            self._unfinished.add(self._chunk[at:])
            self._chunk = b""
            self._at = 0
            return None
        self._at = end + 1
        line = self._chunk[at:end].rstrip(b"\r")
        return line if line.strip() else None
