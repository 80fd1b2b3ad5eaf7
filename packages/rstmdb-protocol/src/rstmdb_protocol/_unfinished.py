"""A message whose end has not arrived: each of its bytes is copied once, however large it is."""

from __future__ import annotations

from ._checksum import crc32c
from ._errors import FrameError
from ._frame import check_payload

__all__ = ["UnfinishedFrame", "UnfinishedLine"]

LARGE_BYTES = 64 * 1024
"""Messages above this are handed out in the buffer that they arrived in."""


class UnfinishedFrame:
    """A frame from the end of its header on; its checksum is taken as the bytes arrive."""

    __slots__ = ("_checksum", "_crc", "_flags", "_head_bytes", "_payload", "_size", "whole")

    def __init__(self, flags: int, head_bytes: int, size: int, checksum: int) -> None:
        """`head_bytes` have come and are not kept; `size` bytes with `checksum` are to come."""
        self._head_bytes = head_bytes
        self._payload = bytearray()
        self._flags = flags
        self._size = size
        self._checksum = checksum
        self._crc = 0
        self.whole = False

    def __len__(self) -> int:
        return self._head_bytes + len(self._payload)

    def add(self, data: bytes) -> bytes:
        """Take what belongs to the message; return what follows it."""
        missing = self._size - len(self._payload)
        mine = data if len(data) <= missing else data[:missing]
        self._payload += mine
        self._crc = crc32c(mine, self._crc)
        self.whole = len(mine) == missing
        return data[missing:]

    def finish(self, max_bytes: int) -> bytes | bytearray:
        """The checked and decompressed payload of a whole message. Raises FrameError."""
        payload = self._payload
        small = bytes(payload) if len(payload) <= LARGE_BYTES else payload
        return check_payload(small, self._flags, self._checksum, max_bytes, self._crc)


class UnfinishedLine:
    """A line, its line break not among the bytes."""

    __slots__ = ("_line", "_max_bytes", "whole")

    def __init__(self, max_bytes: int) -> None:
        self._line = bytearray()
        self._max_bytes = max_bytes
        self.whole = False
        """Its end has come, or too much of it has."""

    def __len__(self) -> int:
        return len(self._line)

    def add(self, data: bytes) -> bytes:
        """Take what belongs to the message; return what follows it."""
        end = data.find(b"\n")
        if end < 0:
            self._line += data
            self.whole = len(self._line) > self._max_bytes
            return b""
        self._line += data[:end]
        self.whole = True
        return data[end + 1 :]

    def finish(self, max_bytes: int) -> bytes | bytearray | None:
        """The line without its break, None for a blank one. Raises FrameError."""
        line = self._line
        if len(line) > max_bytes:
            raise FrameError(f"a line is over the limit of {max_bytes} bytes")
        while line.endswith(b"\r"):
            del line[-1:]
        if not line or line.isspace():
            return None
        return bytes(line) if len(line) <= LARGE_BYTES else line
