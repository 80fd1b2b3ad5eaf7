"""A bare RCP peer for tests: blocking socket, messages as plain dictionaries.

It knows the protocol from its documentation and shares no code with rstmdb_protocol, so that
a mistake made there is not made here too.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from types import TracebackType
from typing import Any, Literal

import zstandard
from crc32c import crc32c

Json = dict[str, Any]
Lines = Literal["", "from_first_byte", "by_hello"]
"""Frames, or how a connection comes to speak JSON lines."""

HEADER = struct.Struct(">4sHHHII")
CRC_PRESENT, COMPRESSED, STREAM, END_STREAM = 1, 2, 4, 8
COMPRESS_FROM_BYTES = 4096


def header(size: int, crc: int = 0, flags: int = 0, version: int = 1, extension: int = 0) -> bytes:
    """A frame's header, as wrong as a test wants it."""
    return HEADER.pack(b"RCPX", version, flags, extension, size, crc)


def frame(payload: bytes, flags: int = 0) -> bytes:
    """A whole frame with its checksum; `payload` goes as it is."""
    return header(len(payload), crc32c(payload), CRC_PRESENT | flags) + payload


class Refused(Exception):
    """An error response, where a test expected none."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.error = error
        self.details: Json = error.get("details", {})


class Wire:
    """One connection. It frames and reads on its own, so that it can also misbehave.

    `lines` says whether and how it comes to speak JSON lines. With `zstd` among the features it
    compresses what it sends from 4 KiB upwards, as soon as the server has agreed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hello: bool = True,
        features: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
        lines: Lines = "",
    ) -> None:
        self.socket = socket.create_connection((host, port), 20)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host)
            except BaseException:
                self.socket.close()
                raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._at = 0
        self._next_id = 0
        self.jsonl = lines == "from_first_byte"
        self.zstd = False
        self.last_flags = 0
        """The flags of the frame received last."""
        self.events: list[Json] = []
        self.ends: list[Json] = []
        if hello:
            try:
                self.hello = self._say_hello(features, lines)
            except BaseException:
                self.close()  # the server died under it
                raise

    def _say_hello(self, features: tuple[str, ...], lines: Lines) -> Json:
        params: Json = {"protocol_version": 1, "features": list(features)}
        if lines:
            params["wire_modes"] = ["jsonl"]
        request_id = self.send("HELLO", params)
        self.jsonl = bool(lines)
        answer = self.response(request_id)
        if answer["status"] == "error":
            raise Refused(answer["error"])
        agreed: Json = answer["result"]
        assert agreed["wire_mode"] == ("jsonl" if lines else "binary_json")
        self.zstd = "zstd" in agreed["features"]
        return agreed

    def send(self, op: str, params: Json | None = None, **envelope: Any) -> str:
        """Send a request without waiting; its id."""
        self._next_id += 1
        request_id = str(envelope.pop("id", self._next_id))
        self.send_json({"type": "request", "id": request_id, "op": op, "params": params or {}}
                       | envelope)  # fmt: skip
        return request_id

    def send_json(self, message: Any) -> None:
        """Send any JSON value as one message."""
        self.send_payload(json.dumps(message).encode())

    def send_payload(self, payload: bytes) -> None:
        """Send bytes as one message."""
        if self.jsonl:
            self.socket.sendall(payload + b"\n")
        elif self.zstd and len(payload) >= COMPRESS_FROM_BYTES:
            self.socket.sendall(frame(zstandard.ZstdCompressor().compress(payload), COMPRESSED))
        else:
            self.socket.sendall(frame(payload))

    def receive(self, timeout: float = 20.0) -> Json:
        """The next message, whatever it is; EOFError when the server has closed."""
        self.socket.settimeout(timeout)
        if self.jsonl:
            while (end := self._buffer.find(b"\n", self._at)) < 0:
                self._fill()
            message: Json = json.loads(self._buffer[self._at : end])
            self._at = end + 1
            return message
        self._await(HEADER.size)
        magic, version, flags, extension, size, crc = HEADER.unpack_from(self._buffer, self._at)
        assert (magic, version, extension) == (b"RCPX", 1, 0), self._buffer[self._at :][:64]
        self._await(HEADER.size + size)
        start = self._at + HEADER.size
        self._at = start + size
        framed: Json = json.loads(self._checked(self._buffer[start : self._at], flags, crc))
        return framed

    def _await(self, size: int) -> None:
        while len(self._buffer) - self._at < size:
            self._fill()

    def _checked(self, payload: bytes, flags: int, crc: int) -> bytes:
        """A payload whose flags and checksum are as the documentation says, decompressed."""
        self.last_flags = flags
        assert flags & CRC_PRESENT
        assert not flags & ~(CRC_PRESENT | COMPRESSED | STREAM | END_STREAM), flags
        assert crc32c(payload) == crc
        if not flags & COMPRESSED:
            return payload
        assert self.zstd, "a compressed frame that was not agreed on"
        plain = zstandard.ZstdDecompressor().decompress(payload)
        assert len(plain) >= COMPRESS_FROM_BYTES
        return plain

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("the server closed the connection")
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def response(self, request_id: str, timeout: float = 20.0) -> Json:
        """The response to a request; events met on the way are kept."""
        while True:
            message = self.receive(timeout)
            if message["type"] == "event":
                self.events.append(message)
            elif message["type"] == "end":
                self.ends.append(message)
            else:
                assert message["id"] == request_id, message
                return message

    def request(self, op: str, **params: Any) -> Json:
        """Send and return the whole response."""
        return self.response(self.send(op, params))

    def call(self, op: str, **params: Any) -> Json:
        """Send and return the result; Refused for an error."""
        answer = self.request(op, **params)
        if answer["status"] == "error":
            raise Refused(answer["error"])
        result: Json = answer["result"]
        return result

    def event(self, timeout: float = 20.0) -> Json:
        """The next event."""
        if self.events:
            return self.events.pop(0)
        message = self.receive(timeout)
        assert message["type"] == "event", message
        return message

    def closed_by_server(self, timeout: float = 10.0) -> bool:
        """Whether the server closes the connection; what it still sends is dropped."""
        try:
            while True:
                self.receive(timeout)
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
