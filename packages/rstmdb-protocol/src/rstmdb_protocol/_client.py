"""The client's side of a connection, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ._buffer import ReceiveBuffer, WireMode
from ._errors import FrameError
from ._frame import (
    COMPRESS_FROM_BYTES,
    FLAG_COMPRESSED,
    PROTOCOL_VERSION,
    compress_payload,
    encode_frame,
)
from ._jsonl import encode_line
from ._messages._envelope import RequestMeta, ResponseMessage
from ._messages._session import HelloParams, HelloResult
from ._messages._types import Message
from ._messages._watch import EndMessage, EventMessage
from ._responses import encode_json

__all__ = ["ClientConnection", "ServerMessage"]

ServerMessage = ResponseMessage | EventMessage | EndMessage


class _RequestEnvelope(msgspec.Struct, frozen=True, tag_field="type", tag="request"):
    id: str
    op: str
    params: Any
    meta: RequestMeta | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(ServerMessage).decode


def _decode_message(payload: bytes | bytearray) -> ServerMessage:
    try:
        message: ServerMessage = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"a message that can't be read: {error}") from error
    return message


class ClientConnection:
    """Requests in, bytes out; bytes in, responses and events out.

    The connection starts in frames. A client that prefers JSON lines names them first in
    HELLO; the answer to HELLO is read in the mode that the server chose.
    """

    __slots__ = ("_buffer", "_hello_id", "_next_id", "mode", "zstd")

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer()
        self.mode = WireMode.BINARY_JSON
        self.zstd = False
        self._next_id = 0
        self._hello_id: str | None = None

    def hello(
        self,
        client_name: str,
        *,
        wire_modes: Sequence[str] = (WireMode.BINARY_JSON,),
        features: Sequence[str] = (),
    ) -> tuple[str, bytes]:
        """Encode the first request; its answer settles mode and features by itself."""
        params = HelloParams(PROTOCOL_VERSION, client_name, list(wire_modes), list(features))
        request_id, data = self.request("HELLO", params)
        self._hello_id = request_id
        # The server answers in the mode that it chose: the first byte of the answer tells.
        self._buffer.mode = None
        return request_id, data

    def request(
        self, op: str, params: Message | dict[str, Any], meta: RequestMeta | None = None
    ) -> tuple[str, bytes]:
        """Encode a request: its id, and the bytes to send.

        Raises LocalProtocolError for a request above 16 MiB.
        """
        self._next_id += 1
        request_id = str(self._next_id)
        payload = encode_json(
            _RequestEnvelope(request_id, op, params, msgspec.UNSET if meta is None else meta)
        )
        return request_id, self._pack(payload)

    def _pack(self, payload: bytes) -> bytes:
        if self.mode is WireMode.JSONL:
            return encode_line(payload)
        if self.zstd and len(payload) >= COMPRESS_FROM_BYTES:
            return encode_frame(compress_payload(payload), FLAG_COMPRESSED)
        return encode_frame(payload)

    def feed(self, data: bytes) -> None:
        """Take in bytes as they arrived from the socket."""
        self._buffer.feed(data)

    def messages(self) -> Iterator[ServerMessage]:
        """Yield each whole message that has arrived.

        Raises RemoteProtocolError when the stream can't be read on.
        """
        for message in self._buffer.messages(_decode_message):
            if self._hello_id is not None and isinstance(message, ResponseMessage):
                self._settle(message)
            yield message

    def _settle(self, answer: ResponseMessage) -> None:
        if answer.id != self._hello_id:
            return
        self._hello_id = None
        if answer.status != "ok":
            return
        try:
            hello = msgspec.json.decode(answer.result, type=HelloResult)
            mode = WireMode(hello.wire_mode)
        except (msgspec.DecodeError, ValueError) as error:
            raise FrameError(f"an answer to HELLO that can't be read: {error}") from error
        self.mode = self._buffer.mode = mode
        self.zstd = self._buffer.allow_compressed = "zstd" in hello.features
