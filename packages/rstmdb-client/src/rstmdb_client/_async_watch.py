"""The async watch: as SyncWatch, over an anyio stream of its own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any

import anyio
from anyio.abc import ByteStream

import rstmdb_protocol as rcp

from ._calls import Raw
from ._errors import ConnectFailed, ConnectionLost, server_error
from ._link import RECEIVE_BYTES, dial
from ._retry import backoff_secs
from ._url import Target
from ._watch import FEATURES, WatchRequest

__all__ = ["AsyncWatch"]


class AsyncWatch(AsyncIterator[rcp.EventMessage]):
    """Iterate over events. Raises WatchEnded where the watch can't go on.

    Reconnects for as long as it takes, behind the last event handed out. As an async context
    manager it connects at once, and `begun` holds the server's answer. End a plain
    `async for` that is left early with `aclose`.
    """

    def __init__(
        self,
        target: Target,
        request: WatchRequest,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._target = target
        self._request = request
        self._rng = rng
        self._sleep = sleep
        self._stream: ByteStream | None = None
        self._connection = rcp.ClientConnection()
        self._messages: Iterator[rcp.ServerMessage] = iter(())
        self._closed = False
        self.begun: dict[str, Any] = {}
        """The result of the watch request: subscription_id, and state or offset."""

    async def __anext__(self) -> rcp.EventMessage:
        """The next event; StopAsyncIteration after `aclose`."""
        pauses = backoff_secs(self._rng)
        while not self._closed:
            try:
                if self._stream is None:
                    await self._connect()
                message = await self._receive()
            except (ConnectFailed, ConnectionLost):
                await self._drop()
                await self._sleep(next(pauses))
                continue
            if isinstance(message, rcp.EventMessage):
                self._request.took(message)
                return message
            if isinstance(message, rcp.EndMessage):
                self._request.ended(message)
                await self._drop()
        raise StopAsyncIteration

    async def _connect(self) -> None:
        self._stream = await dial(self._target)
        self._connection = rcp.ClientConnection()
        self._messages = iter(())
        hello = self._connection.hello(
            "rstmdb-client", wire_modes=self._target.modes, features=FEATURES
        )
        answers = [await self._ask(*hello)]
        if self._target.token is not None and answers[0].error is None:
            auth = rcp.AuthParams(self._target.token, "bearer")
            answers.append(await self._ask(*self._connection.request("AUTH", auth)))
        for answer in answers:
            if answer.error is not None:
                raise server_error(answer.error)
        params: Raw = self._request.params()
        watch = self._connection.request(self._request.op, params)
        self.begun = self._request.began(await self._ask(*watch))

    async def _ask(self, request_id: str, data: bytes) -> rcp.ResponseMessage:
        stream = self._stream
        if stream is None:
            raise ConnectionLost("the connection is closed")
        try:
            with anyio.fail_after(self._target.request_timeout):
                await stream.send(data)
                while True:
                    message = await self._receive()
                    if isinstance(message, rcp.ResponseMessage):
                        return message
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionLost(f"the connection broke under {request_id}: {error}") from error

    async def _receive(self) -> rcp.ServerMessage:
        while True:
            try:
                message = next(self._messages, None)
                if message is not None:
                    return message
                if self._stream is None:
                    raise ConnectionLost("the connection is closed")
                self._connection.feed(await self._stream.receive(RECEIVE_BYTES))
            except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
                raise ConnectionLost("the server closed the connection") from error
            except (anyio.BrokenResourceError, rcp.RemoteProtocolError) as error:
                raise ConnectionLost(f"the connection broke: {error}") from error
            self._messages = self._connection.messages()

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await anyio.aclose_forcefully(stream)

    async def aclose(self) -> None:
        """End the watch."""
        self._closed = True
        await self._drop()

    async def __aenter__(self) -> AsyncWatch:
        """Connect and begin."""
        if self._stream is None:
            await self._connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""
        with anyio.CancelScope(shield=True):
            await self.aclose()
