"""A session over anyio byte streams: runs on every backend, trio among them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from anyio.streams.tls import TLSStream

from rstmdb_server.session import Session

from . import is_reset, keep_alive

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub

__all__ = ["StreamListener", "StreamTransport"]

RECEIVE_BYTES = 256 * 1024
WRITE_HIGH_BYTES = 256 * 1024
WRITE_LOW_BYTES = 64 * 1024
SEND_BYTES = 64 * 1024
"""Handed to the socket at once, so that a slow reader is seen to take bytes."""


class StreamTransport:
    """What a session needs of its socket, over a stream with a writer task."""

    def __init__(self, stream: ByteStream, scope: anyio.CancelScope) -> None:
        self.peer = str(stream.extra(SocketAttribute.remote_address, "?"))  # noqa: S610 (no Django)
        self.on_pause: Callable[[], None] = lambda: None
        self.on_resume: Callable[[], None] = lambda: None
        self._stream = stream
        self._scope = scope
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._paused = False
        self._closing = False
        self._has_work = anyio.Event()
        self._may_read = anyio.Event()
        self._may_read.set()

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self._has_work.set()
        if self._outbox_bytes > WRITE_HIGH_BYTES and not self._paused:
            self._paused = True
            self.on_pause()

    def buffered(self) -> int:
        """Bytes queued that the socket has not taken."""
        return self._outbox_bytes

    def pause_reading(self) -> None:
        """Read nothing more until resume_reading."""
        if self._may_read.is_set():
            self._may_read = anyio.Event()

    def resume_reading(self) -> None:
        """Read on."""
        self._may_read.set()

    def is_gone(self) -> bool:
        """Whether the peer is: while reading is paused, no read tells of a reset."""
        return is_reset(self._stream.extra(SocketAttribute.raw_socket))  # noqa: S610 (no Django)

    def close(self) -> None:
        """Send what is queued, then close."""
        self._closing = True
        self._has_work.set()

    def abort(self) -> None:
        """Close at once."""
        self._scope.cancel()

    async def read_all(self, receive: Callable[[bytes], None]) -> None:
        """Hand on what arrives until the peer ends the stream."""
        while not self._closing:
            await self._may_read.wait()
            try:
                data = await self._stream.receive(RECEIVE_BYTES)
            except anyio.EndOfStream:
                return
            receive(data)

    async def write_all(self) -> None:
        """Send what is queued; ends once the session has closed and all is sent."""
        while True:
            await self._has_work.wait()
            self._has_work = anyio.Event()
            while self._outbox:
                data = b"".join(self._outbox)
                self._outbox.clear()
                for start in range(0, len(data), SEND_BYTES):
                    piece = data[start : start + SEND_BYTES]
                    await self._stream.send(piece)
                    self._outbox_bytes -= len(piece)
                    if self._paused and self._outbox_bytes < WRITE_LOW_BYTES:
                        self._paused = False
                        self.on_resume()
            if self._closing:
                return


async def _serve_stream(hub: Hub, context: ssl.SSLContext | None, plain: ByteStream) -> None:
    """Serve one connection to its end."""
    accepted = hub.monotonic()
    session: Session | None = None
    try:
        keep_alive(plain.extra(SocketAttribute.raw_socket))  # noqa: S610 (no Django)
        stream = plain if context is None else await _shake_hands(hub, context, plain)
        async with anyio.create_task_group() as tasks:
            transport = StreamTransport(stream, tasks.cancel_scope)
            session = Session(hub, transport, accepted)
            transport.on_pause = session.pause_writing
            transport.on_resume = session.resume_writing
            hub.admit(session)

            async def read(session: Session = session) -> None:
                await transport.read_all(session.receive)
                session.close()
                session.flush()

            tasks.start_soon(read)
            await transport.write_all()
            tasks.cancel_scope.cancel()
    except* (OSError, ssl.SSLError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # the peer is gone, or no peer of ours; `lost` tells the session
    finally:
        if session is not None:
            session.lost()
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(plain)


async def _shake_hands(hub: Hub, context: ssl.SSLContext, plain: ByteStream) -> ByteStream:
    """TLS over a socket. Raises SSLError, OSError, TimeoutError, BrokenResourceError."""
    with anyio.fail_after(hub.config.limits.handshake_timeout_secs):
        return await TLSStream.wrap(plain, ssl_context=context, standard_compatible=False)


class StreamListener:
    """Listens on any backend, with two tasks a connection."""

    def __init__(self, listener: Any, scope: anyio.CancelScope) -> None:
        self._listener = listener
        self._scope = scope
        first = listener.listeners[0]
        host, port = first.extra(SocketAttribute.local_address)[:2]  # noqa: S610 (no Django)
        self.addresses = [f"{host}:{port}"]

    @classmethod
    async def start(
        cls, hub: Hub, tasks: TaskGroup, host: str, port: int, context: ssl.SSLContext | None
    ) -> StreamListener:
        """Listen; connections are served in `tasks`. Raises OSError."""
        plain = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=1024)
        listener = cls(plain, anyio.CancelScope())
        serve = partial(_serve_stream, hub, context)

        async def accept() -> None:
            try:
                with listener._scope:
                    await plain.serve(serve, task_group=tasks)
            except* anyio.ClosedResourceError:
                pass  # `stop` was faster than the cancellation

        tasks.start_soon(accept)
        return listener

    async def stop(self) -> None:
        """Take no more connections."""
        self._scope.cancel()
        await self._listener.aclose()
