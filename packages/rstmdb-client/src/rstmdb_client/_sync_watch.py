"""The blocking watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import rstmdb_protocol as rcp

from ._errors import ConnectFailed, ConnectionLost, RequestTimeout, RstmdbError, WatchEnded
from ._fork import forget_in_children
from ._retry import LEAST_CONNECT_SECS, backoff_secs, tell_of_trouble
from ._sync_pipe import SyncPipe, left_secs
from ._url import Target
from ._watch import WatchPosition, WatchRequest

if TYPE_CHECKING:
    import random

__all__ = ["SyncWatch"]


class SyncWatch(WatchPosition, Iterator[rcp.EventMessage]):
    """Events in log order, each exactly once, blocking for the next one.

    As a context manager it connects at once, else with the first event; either raises
    ConnectFailed or ServerError. Once begun it reconnects for as long as it takes, and raises
    WatchEnded where it can't go on. `close` ends it, also from another thread.
    """

    def __init__(
        self,
        target: Target,
        request: WatchRequest,
        rng: random.Random,
        sleep: Callable[[float], None],
        opened: set[SyncWatch],
    ) -> None:
        super().__init__(request)
        self._target = target
        self._rng = rng
        self._sleep = sleep
        self._opened = opened
        self._pipe: SyncPipe | None = None
        self._reading = threading.Lock()
        self._closed = False
        forget_in_children(self)

    def _forget(self) -> None:
        """Called in a child process, whose watch goes on behind the same event by itself."""
        self._reading = threading.Lock()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.abandon()

    def __next__(self) -> rcp.EventMessage:
        """The next event; StopIteration after `close`."""
        return self._next(None)

    def receive(self, timeout: float | None = None) -> rcp.EventMessage:
        """The next event, waited for at most `timeout` seconds where that is given (0: a look).

        Raises TimeoutError, after which the watch goes on; WatchEnded, also after `close`. An
        attempt to connect again is given a second at least.
        """
        try:
            return self._next(None if timeout is None else time.monotonic() + timeout)
        except StopIteration:
            raise WatchEnded("closed", self.next_offset) from None
        except TimeoutError:
            raise TimeoutError("no event in time") from None

    def _next(self, deadline: float | None) -> rcp.EventMessage:
        try:
            with self._reading:
                return self._receive(deadline)
        finally:
            if self._closed:
                self._drop()

    def _receive(self, deadline: float | None) -> rcp.EventMessage:
        pauses = backoff_secs(self._rng)
        while not self._closed:
            try:
                pipe = self._pipe or self._begin(deadline)
                event = self._request.take(pipe.receive(deadline))
            except (ConnectFailed, ConnectionLost) as problem:
                self._drop()
                if not self.begun:
                    self._opened.discard(self)
                    raise
                if not self._closed:
                    pause = next(pauses)
                    tell_of_trouble(self._request.op, problem, pause)
                    self._sleep(pause if deadline is None else min(pause, left_secs(deadline)))
            except TimeoutError:
                raise  # the connection is as good as before
            except BaseException as error:
                # An interrupted receive may have lost a part of a message.
                self._drop()
                if isinstance(error, RstmdbError):
                    self.close()
                raise
            else:
                if event is not None:
                    return event
        raise StopIteration

    def _begin(self, deadline: float | None = None) -> SyncPipe:
        target = self._target
        if deadline is not None:
            most = max(deadline - time.monotonic(), LEAST_CONNECT_SECS)
            target = target.with_options(
                connect_timeout=min(target.connect_timeout, most),
                request_timeout=min(target.request_timeout, most),
            )
        self._opened.add(self)
        self._pipe = pipe = SyncPipe.open(target)
        try:
            if self._closed:  # looked at after `close` can see the pipe: one of both sees the other
                raise ConnectionLost("the watch is closed")
            op, timeout = self._request.op, target.request_timeout
            while not self._request.began(pipe.ask(op, self._request.params(), timeout)):
                pass
        except RequestTimeout as error:
            self._drop()
            raise ConnectionLost(str(error)) from error
        except BaseException:
            self._drop()
            raise
        return pipe

    def _drop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()

    def close(self) -> None:
        """End the watch; a thread that waits in it gets StopIteration."""
        self._closed = True
        self._opened.discard(self)
        pipe = self._pipe
        if pipe is not None:
            pipe.shut()
        # A thread that reads drops the pipe itself, when it has noticed.
        if self._reading.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._reading.release()

    def __enter__(self) -> SyncWatch:
        """Connect and begin. Raises ConnectFailed, ServerError, WatchEnded."""
        self.begin()
        return self

    def begin(self, timeout: float | None = None) -> None:
        """Connect and begin, if it has not, within `timeout` seconds where that is given.

        A second is given at least. Raises ConnectFailed, ServerError, WatchEnded.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._reading:
            if self._pipe is None:
                try:
                    self._begin(deadline)
                except BaseException:
                    self._opened.discard(self)
                    raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""
        self.close()
