"""A greeted, authenticated connection on a blocking socket; one request at a time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import rstmdb_protocol as rcp

from ._calls import Raw
from ._errors import ConnectFailed, ConnectionLost, RequestTimeout
from ._greeting import (
    RECEIVE_BYTES,
    SOCKET_OPTIONS,
    encode_request,
    explain,
    greeting,
    unanswered,
    unless_last,
)
from ._url import Target

if TYPE_CHECKING:
    import ssl

__all__ = ["SyncPipe", "left_secs"]

LEAST_LOOK_SECS = 0.0005
"""Not 0, which TLS sockets answer with errors of their own."""


class SyncPipe:
    """Messages over a socket. Only `shut` may be called from another thread."""

    def __init__(self, stream: socket.socket) -> None:
        self._socket = stream
        self._messages: Iterator[rcp.ServerMessage] = iter(())
        self.connection = rcp.ClientConnection()
        self.hello: rcp.HelloResult
        self.is_shut = False
        """Whether the connection is of no use any more."""

    @classmethod
    def open(cls, target: Target) -> SyncPipe:
        """Connect to the first host that answers, and greet it.

        Raises ConnectFailed when none does, ServerError when one refuses.
        """
        context = target.ssl_context()
        problems = []
        for host, port in target.hosts:
            deadline = time.monotonic() + target.connect_timeout
            stream = None
            try:
                stream = _connect(host, port, target.connect_timeout)
                return cls._greet(target, stream, host, context, deadline)
            except TimeoutError:
                connected = stream is not None
                problems.append(unanswered(host, port, target, connected=connected))
            except (OSError, UnicodeError, ConnectionLost) as error:
                problems.append(f"{host}:{port}: {explain(error)}")
        raise ConnectFailed(f"can't connect to {'; '.join(problems)}")

    @classmethod
    def _greet(
        cls,
        target: Target,
        stream: socket.socket,
        host: str,
        context: ssl.SSLContext | None,
        deadline: float,
    ) -> SyncPipe:
        try:
            for option in SOCKET_OPTIONS:
                stream.setsockopt(*option)
            if context is not None:
                stream.settimeout(left_secs(deadline))
                stream = context.wrap_socket(stream, server_hostname=target.server_name or host)
            pipe = cls(stream)
            steps = greeting(pipe.connection, target)
            request = next(steps)
            try:
                while True:
                    request = steps.send(pipe._ask(*request, deadline))
            except StopIteration as done:
                pipe.hello = done.value
        except BaseException:
            stream.close()
            raise
        return pipe

    def ask(self, op: str, params: rcp.Message | Raw, timeout_secs: float) -> rcp.ResponseMessage:
        """Send a request and wait for its answer; that of an earlier one is dropped.

        Raises ConnectionLost, RequestTimeout, RequestTooLarge.
        """
        request = encode_request(self.connection, op, params)
        try:
            return self._ask(*request, time.monotonic() + timeout_secs)
        except TimeoutError as error:
            raise RequestTimeout(
                f"{op}: no answer in time ({timeout_secs} s); whether a write was done is not known"
            ) from error

    def _ask(self, request_id: str, data: bytes, deadline: float) -> rcp.ResponseMessage:
        self._socket.settimeout(left_secs(deadline))
        try:
            self._socket.sendall(data)
        except TimeoutError:
            self.shut()  # half a request may be out: nothing can follow it
            raise
        except OSError as error:  # the request is not out as a whole, so it was not done
            reason = self._last_word(deadline) or f"the connection broke: {explain(error)}"
            raise ConnectionLost(reason, sent=False) from error
        while True:
            message = self.receive(deadline)
            if isinstance(message, rcp.ResponseMessage) and message.id == request_id:
                return message
            left_secs(deadline)

    def _last_word(self, deadline: float) -> str | None:
        """Why the server gave up, where it said so before it closed."""
        try:
            while True:
                self.receive(deadline)
                left_secs(deadline)
        except ConnectionLost as error:
            return str(error)
        except TimeoutError:
            return None

    def has_ended(self) -> bool:
        """Whether the server is known to have closed a plain connection."""
        self._socket.settimeout(0)  # until the request sets its own
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ValueError:  # TLS knows no peeking
            return False
        except OSError:
            return True

    def receive(self, deadline: float | None = None) -> rcp.ServerMessage:
        """The next message. Raises ConnectionLost, and TimeoutError at the deadline."""
        while True:
            try:
                message = next(self._messages, None)
            except rcp.RemoteProtocolError as error:
                raise ConnectionLost(f"the server broke the protocol: {error}") from error
            if message is not None:
                return unless_last(message)
            self._fill(deadline)

    def _fill(self, deadline: float | None) -> None:
        # Past the deadline, too, there is one look: what has arrived is there to be had.
        left = None if deadline is None else max(deadline - time.monotonic(), LEAST_LOOK_SECS)
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {explain(error)}") from error
        if not data:
            raise ConnectionLost("the server closed the connection")
        self.connection.feed(data)
        self._messages = self.connection.messages()

    def shut(self) -> None:
        """End the connection; a `receive` in another thread gets ConnectionLost.

        The socket stays open, so that its number belongs to no other while a thread reads.
        """
        self.is_shut = True
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # below TLS

    def abandon(self) -> None:
        """Close the socket and leave the connection to the process that this one came from."""
        self._socket.close()

    def close(self) -> None:
        """End the connection and close the socket."""
        self.shut()
        self._socket.close()


def _connect(host: str, port: int, timeout_secs: float) -> socket.socket:
    """A connection to a name or an address."""
    # Text would bring the codec for international names, which takes its time to import.
    name: Any = host.encode("ascii") if host.isascii() else host
    return socket.create_connection((name, port), timeout_secs)


def left_secs(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left
