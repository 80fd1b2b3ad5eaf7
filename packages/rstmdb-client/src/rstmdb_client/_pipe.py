"""A greeted, authenticated connection on anyio; one request at a time (see _link for many)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

import rstmdb_protocol as rcp

from ._calls import Raw
from ._errors import ConnectFailed, ConnectionLost
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

__all__ = ["Pipe"]


class Pipe:
    """Messages over a byte stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._messages: Iterator[rcp.ServerMessage] = iter(())
        self.connection = rcp.ClientConnection()
        self.hello: rcp.HelloResult

    @classmethod
    async def open(cls, target: Target) -> Pipe:
        """Connect to the first host that answers, and greet it.

        Raises ConnectFailed when none does, ServerError when one refuses.
        """
        context = target.ssl_context()
        problems = []
        for host, port in target.hosts:
            connected = False
            try:
                with anyio.fail_after(target.connect_timeout):
                    stream = await anyio.connect_tcp(host, port)
                    connected = True
                    return await cls._greet(target, stream, host, context)
            except TimeoutError:
                problems.append(unanswered(host, port, target, connected=connected))
            except (
                OSError,
                UnicodeError,  # of a name that can't be one
                anyio.BrokenResourceError,
                anyio.EndOfStream,
                ConnectionLost,
            ) as error:
                problems.append(f"{host}:{port}: {explain(error)}")
        raise ConnectFailed(f"can't connect to {'; '.join(problems)}")

    @classmethod
    async def _greet(
        cls, target: Target, stream: ByteStream, host: str, context: ssl.SSLContext | None
    ) -> Pipe:
        raw_socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 (no Django here)
        try:
            for option in SOCKET_OPTIONS:
                raw_socket.setsockopt(*option)
            if context is not None:
                stream = await TLSStream.wrap(
                    stream,
                    hostname=target.server_name or host,
                    ssl_context=context,
                    standard_compatible=False,
                )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            raise
        pipe = cls(stream)
        try:
            steps = greeting(pipe.connection, target)
            request = next(steps)
            try:
                while True:
                    request = steps.send(await pipe._ask(*request))
            except StopIteration as done:
                pipe.hello = done.value
        except BaseException:
            await pipe.aclose()
            raise
        return pipe

    async def ask(self, op: str, params: rcp.Message | Raw) -> rcp.ResponseMessage:
        """Send a request and wait for its answer. Raises ConnectionLost, RequestTooLarge."""
        return await self._ask(*encode_request(self.connection, op, params))

    async def _ask(self, request_id: str, data: bytes) -> rcp.ResponseMessage:
        await self.send(data)
        while True:
            message = await self.receive()
            if isinstance(message, rcp.ResponseMessage) and message.id == request_id:
                return message

    async def send(self, data: bytes) -> None:
        """Send encoded requests. Raises ConnectionLost."""
        try:
            await self._stream.send(data)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionLost(f"the connection broke: {explain(error)}") from error

    async def receive(self) -> rcp.ServerMessage:
        """The next message; nothing is lost if this is cancelled. Raises ConnectionLost."""
        try:
            while (message := next(self._messages, None)) is None:
                self.connection.feed(await self._stream.receive(RECEIVE_BYTES))
                self._messages = self.connection.messages()
        except anyio.EndOfStream as error:
            raise ConnectionLost("the server closed the connection") from error
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionLost(f"the connection broke: {explain(error)}") from error
        except rcp.RemoteProtocolError as error:
            raise ConnectionLost(f"the server broke the protocol: {error}") from error
        return unless_last(message)

    async def aclose(self) -> None:
        """Close the connection at once; who waits in `receive` gets ConnectionLost."""
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)
