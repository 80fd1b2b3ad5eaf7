"""A bare RCP peer for tests: blocking socket, messages as plain dictionaries."""

from __future__ import annotations

import json
import socket
import ssl
from types import TracebackType
from typing import Any

from rstmdb_protocol import encode_frame

Json = dict[str, Any]


class Refused(Exception):
    """An error response, where a test expected none."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.error = error
        self.details: Json = error.get("details", {})


class Wire:
    """One connection. It frames and reads on its own, so that it can also misbehave."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hello: bool = True,
        features: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.create_connection((host, port), 20)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._next_id = 0
        self.jsonl = False
        self.events: list[Json] = []
        self.ends: list[Json] = []
        if hello:
            try:
                self.hello = self.call("HELLO", protocol_version=1, features=list(features))
            except BaseException:
                self.close()  # the server died under it
                raise

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
        self.socket.sendall(payload + b"\n" if self.jsonl else encode_frame(payload))

    def receive(self, timeout: float = 20.0) -> Json:
        """The next message, whatever it is; EOFError when the server has closed."""
        self.socket.settimeout(timeout)
        if self.jsonl:
            while b"\n" not in self._buffer:
                self._fill()
            line, _, self._buffer = self._buffer.partition(b"\n")
            message: Json = json.loads(line)
            return message
        while len(self._buffer) < 18:
            self._fill()
        size = int.from_bytes(self._buffer[10:14], "big")
        while len(self._buffer) < 18 + size:
            self._fill()
        payload, self._buffer = self._buffer[18 : 18 + size], self._buffer[18 + size :]
        framed: Json = json.loads(payload)
        return framed

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("the server closed the connection")
        self._buffer += data

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
