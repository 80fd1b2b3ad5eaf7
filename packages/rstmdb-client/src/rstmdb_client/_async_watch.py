"""The async watch: as SyncWatch, over an anyio stream."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType

import anyio

import rstmdb_protocol as rcp

from ._errors import ConnectFailed, ConnectionLost, RstmdbError, WatchEnded
from ._pipe import Pipe
from ._retry import backoff_secs, tell_of_trouble
from ._url import Target
from ._watch import WatchPosition, WatchRequest

__all__ = ["AsyncWatch"]


class AsyncWatch(WatchPosition, AsyncIterator[rcp.EventMessage]):
    """Events in log order, each exactly once.

    As an async context manager it connects at once, else with the first event; either raises
    ConnectFailed or ServerError. Once begun it reconnects for as long as it takes, and raises
    WatchEnded where it can't go on. Waiting for an event may be cancelled and taken up again.
    `aclose`, or the end of the client's block, ends it.
    """

    def __init__(
        self,
        target: Target,
        request: WatchRequest,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]],
        opened: set[AsyncWatch],
    ) -> None:
        super().__init__(request)
        self._target = target
        self._rng = rng
        self._sleep = sleep
        self._opened = opened
        self._pipe: Pipe | None = None
        self._waiting: anyio.CancelScope | None = None
        self._closed = False

    async def __anext__(self) -> rcp.EventMessage:
        """The next event; StopAsyncIteration after `aclose`."""
        with anyio.CancelScope() as self._waiting:
            return await self._receive()
        raise StopAsyncIteration

    async def receive(self) -> rcp.EventMessage:
        """The next event; as `anext`, but after `aclose` it raises WatchEnded.

        `anyio.fail_after` sets it a time limit, after which the watch goes on.
        """
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise WatchEnded("closed", self.next_offset) from None

    async def _receive(self) -> rcp.EventMessage:
        pauses = backoff_secs(self._rng)
        while not self._closed:
            try:
                pipe = self._pipe or await self._begin()
                event = self._request.take(await pipe.receive())
            except (ConnectFailed, ConnectionLost) as problem:
                await self._drop()
                if not self.begun:
                    self._opened.discard(self)
                    raise
                pause = next(pauses)
                tell_of_trouble(self._request.op, problem, pause)
                await self._sleep(pause)
            except RstmdbError:
                await self.aclose()
                raise
            else:
                if event is not None:
                    return event
        raise StopAsyncIteration

    async def _begin(self) -> Pipe:
        self._opened.add(self)
        self._pipe = pipe = await Pipe.open(self._target)
        try:
            with anyio.fail_after(self._target.request_timeout):
                while not self._request.began(
                    await pipe.ask(self._request.op, self._request.params())
                ):
                    pass
        except TimeoutError as error:
            await self._drop()
            raise ConnectionLost(f"{self._request.op}: no answer in time") from error
        except BaseException:
            await self._drop()
            raise
        return pipe

    async def _drop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            await pipe.aclose()

    async def aclose(self) -> None:
        """End the watch; a task that waits in it gets StopAsyncIteration."""
        self._closed = True
        self._opened.discard(self)
        if self._waiting is not None:
            self._waiting.cancel()
        await self._drop()

    async def __aenter__(self) -> AsyncWatch:
        """Connect and begin. Raises ConnectFailed, ServerError, WatchEnded."""
        await self.begin()
        return self

    async def begin(self) -> None:
        """Connect and begin, if it has not. Raises ConnectFailed, ServerError, WatchEnded."""
        if self._pipe is None:
            try:
                await self._begin()
            except BaseException:
                self._opened.discard(self)
                raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""
        await self.aclose()
