"""A session over asyncio's protocol callbacks: no task and no await per connection."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, cast

from rstmdb_server.session import Session

from . import is_reset, keep_alive

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub

__all__ = ["CallbackListener", "CallbackTransport"]

WRITE_HIGH_BYTES = 256 * 1024
PIECE_BYTES = 128 * 1024
"""Handed to the socket in one pass of the loop: a send of megabytes takes milliseconds."""


class CallbackTransport(asyncio.Protocol):
    """One connection on asyncio (uvloop where it is installed)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._accepted = hub.monotonic()  # before the TLS handshake
        self._left: deque[memoryview] = deque()
        self._left_bytes = 0
        """What goes to the socket in later passes of the loop."""
        self._full = False
        """The socket takes nothing more for now."""
        self._held_up = False
        """The session was told to write no more for now."""
        self._closing = False
        self.peer = "?"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (and finished its TLS handshake)."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.peer = str(self._transport.get_extra_info("peername"))
        keep_alive(self._transport.get_extra_info("socket"))
        self._send = self._transport.write
        self._session = Session(self._hub, self, self._accepted)
        self._hub.admit(self._session)
        self.data_received = self._session.receive  # type: ignore[method-assign]
        self._transport.set_protocol(self)  # loops keep the method that they found at first

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._session.receive(data)

    def eof_received(self) -> bool:
        """The client sends nothing more; its answers still leave, but under TLS."""
        self._session.close()
        self._session.flush()
        if self._transport.get_extra_info("sslcontext") is not None:
            for data in self._left:
                self._send(data)
            self._drop_left()
            return False
        return self._session.has_pending or bool(self._left)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._drop_left()
        self._session.lost()
        self._held_up = self._closing = False
        # What refers to each other would wait for the garbage collector, thousands together.
        del self._session, self.data_received

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._full = True
        self._hold_up()

    def resume_writing(self) -> None:
        """The socket's buffer has drained."""
        self._full = False
        self._send_piece()

    def pause_reading(self) -> None:
        """Read nothing more until resume_reading."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""
        if self._left or len(data) > PIECE_BYTES:
            self._write_in_pieces(data)
        else:
            self._send(data)

    def _write_in_pieces(self, data: bytes) -> None:
        begins = not self._left
        self._left.append(memoryview(data))
        self._left_bytes += len(data)
        if begins:
            self._send_piece()
        if self._left_bytes > WRITE_HIGH_BYTES:
            self._hold_up()

    def _send_piece(self) -> None:
        """Hand over one piece, and the next one after all others have had their turn."""
        if self._full:
            return
        if self._left:
            data = self._left.popleft()
            if len(data) > PIECE_BYTES:
                self._left.appendleft(data[PIECE_BYTES:])
                data = data[:PIECE_BYTES]
            self._left_bytes -= len(data)
            self._send(data)
        if self._left:
            self._hub.call_soon(self._send_piece)
        elif self._closing:
            self._transport.close()
        elif self._held_up and not self._full:
            self._held_up = False
            self._session.resume_writing()

    def _hold_up(self) -> None:
        self._held_up = True
        self._session.pause_writing()

    def _drop_left(self) -> None:
        self._left.clear()
        self._left_bytes = 0

    def buffered(self) -> int:
        """Bytes queued that the socket has not taken."""
        return self._left_bytes + self._transport.get_write_buffer_size()

    def is_gone(self) -> bool:
        """Whether the peer is: while reading is paused, no callback tells of a reset."""
        transport = self._transport
        return transport.is_closing() or is_reset(transport.get_extra_info("socket"))

    def close(self) -> None:
        """Send what is queued, then close."""
        self._closing = True
        if self._left:
            self.pause_reading()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._drop_left()
        self._transport.abort()


class CallbackListener:
    """Listens on asyncio with a protocol callback a connection."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.addresses = ["{}:{}".format(*one.getsockname()[:2]) for one in server.sockets]

    @classmethod
    async def start(
        cls, hub: Hub, host: str, port: int, context: ssl.SSLContext | None
    ) -> CallbackListener:
        """Listen. Raises OSError."""
        handshake_secs = hub.config.limits.handshake_timeout_secs if context else None
        server = await asyncio.get_running_loop().create_server(
            lambda: CallbackTransport(hub),
            host,
            port,
            backlog=1024,
            ssl=context,
            ssl_handshake_timeout=handshake_secs,
        )
        return cls(server)

    async def stop(self) -> None:
        """Take no more connections."""
        self._server.close()
