"""The server's side of a connection, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ._buffer import ReceiveBuffer, WireMode
from ._errors import VersionError
from ._frame import (
    COMPRESS_FROM_BYTES,
    FLAG_COMPRESSED,
    FLAG_STREAM,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    compress_payload,
    encode_frame,
    encode_plain_frame,
    encode_stream_frame,
)
from ._jsonl import encode_line
from ._messages._session import HelloParams
from ._operations import FEATURES
from ._requests import InvalidRequest, Request, decode_request

__all__ = ["ServerConnection"]


class ServerConnection:
    """Bytes in, requests out; payloads in, bytes out.

    Before HELLO the connection speaks protocol 1 in the mode that its first byte tells,
    with every feature but those that change the bytes (`zstd`) or the messages (`watch_end`).
    What is read and what is written switch apart: the client speaks as agreed right after its
    HELLO, while answers to requests before it may still be owed as they were asked for.

    `pack_answer` and `pack_event` do what `pack` does for messages of at most 16 MiB, which
    they do not check, without a look at the mode; HELLO's answer changes them.
    """

    __slots__ = (
        "_buffer",
        "_packed_for",
        "_writes",
        "features",
        "pack_answer",
        "pack_event",
        "zstd",
    )

    def __init__(self, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._buffer = ReceiveBuffer(None, max_payload_bytes)
        self._writes: WireMode | None = None
        self.zstd = False
        """Whether large messages are written compressed."""
        self.features: frozenset[str] = frozenset()
        """What the messages that are written may hold."""
        self._choose_packers()

    @property
    def mode(self) -> WireMode:
        """How messages are put on the wire now; frames until the first byte has told."""
        return self._writes or self._buffer.mode or WireMode.BINARY_JSON

    @property
    def pending_bytes(self) -> int:
        """Received bytes that no request was made of yet."""
        return self._buffer.pending_bytes

    @property
    def max_payload_bytes(self) -> int:
        """The largest message that is accepted; smaller before AUTH where auth is required."""
        return self._buffer.max_bytes

    @max_payload_bytes.setter
    def max_payload_bytes(self, value: int) -> None:
        self._buffer.max_bytes = value

    def feed(self, data: bytes) -> None:
        """Take in bytes as they arrived from the socket."""
        self._buffer.feed(data)

    def requests(self) -> Iterator[Request | InvalidRequest]:
        """Yield each whole request that has arrived.

        A request is decoded only when the one before was handled, since HELLO changes how
        the next is read; the iteration may be given up and taken up again by another call.

        Raises RemoteProtocolError when the connection can't go on; its `code` and text
        belong in a last error response with a null id.
        """
        if self._buffer.mode is not self._packed_for:
            self._choose_packers()  # the first byte has told the mode
        return self._buffer.messages(decode_request)

    def negotiate(
        self, hello: HelloParams, offered: Sequence[str] = FEATURES
    ) -> tuple[WireMode, list[str]]:
        """Choose wire mode and features for a HELLO; `switch` then puts them in force.

        The first mode of the client's that is known here wins; none named or none known
        leaves the mode as it is. Raises VersionError for another protocol version.
        """
        if hello.protocol_version != PROTOCOL_VERSION:
            raise VersionError(
                f"protocol version {hello.protocol_version} is not supported, "
                f"only version {PROTOCOL_VERSION}"
            )
        mode = self._buffer.mode or WireMode.BINARY_JSON
        for name in hello.wire_modes or ():
            if name in tuple(WireMode):
                mode = WireMode(name)
                break
        return mode, sorted(set(hello.features or ()) & set(offered))

    def switch_reading(self, mode: WireMode, features: Sequence[str]) -> None:
        """Read what follows a HELLO as agreed; go on writing as before."""
        self._writes = self.mode
        self._buffer.mode = mode
        self._buffer.allow_compressed = "zstd" in features

    def switch_writing(self, mode: WireMode, features: Sequence[str]) -> None:
        """From here on write as agreed: the answer to HELLO, and all that follows it."""
        self._writes = mode
        self.features = frozenset(features)
        self.zstd = "zstd" in self.features
        self._choose_packers()

    def switch(self, mode: WireMode, features: Sequence[str]) -> None:
        """Read and write as agreed, where no answer is owed from before."""
        self.switch_reading(mode, features)
        self.switch_writing(mode, features)

    def _choose_packers(self) -> None:
        mode = self.mode
        self._packed_for = self._buffer.mode
        if self.zstd:
            self.pack_answer: Callable[[bytes], bytes] = self.pack
            self.pack_event: Callable[[bytes], bytes] = partial(self.pack, flags=FLAG_STREAM)
        elif mode is WireMode.JSONL:
            self.pack_answer = self.pack_event = encode_line
        else:
            self.pack_answer = encode_plain_frame
            self.pack_event = encode_stream_frame

    def pack(self, payload: bytes, flags: int = 0) -> bytes:
        """Make a message ready for the socket: frame or line, compressed where agreed.

        Raises LocalProtocolError for a message above 16 MiB.
        """
        if self.mode is WireMode.JSONL:
            return encode_line(payload)
        if self.zstd and len(payload) >= COMPRESS_FROM_BYTES:
            return encode_frame(compress_payload(payload), flags | FLAG_COMPRESSED)
        return encode_frame(payload, flags)
