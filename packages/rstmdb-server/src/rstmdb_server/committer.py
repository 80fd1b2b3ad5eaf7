"""Group commit on the event loop: what a turn of the loop appended goes out as one flush.

The blocking half of a flush runs on a thread of its own, so that reads go on however slow
the disk is; where the disk has shown itself fast, it runs in place, which spares a lone
writer two changes of thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from rstmdb_storage import LogFailed, Store

__all__ = ["Committer", "EventLoop", "current_event_loop", "runs_on_asyncio"]


class EventLoop:
    """The two things that a committer needs of an event loop."""

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], Any],
        call_soon_threadsafe: Callable[[Callable[[], None]], Any],
    ) -> None:
        self.call_soon = call_soon
        self.call_soon_threadsafe = call_soon_threadsafe


def runs_on_asyncio() -> bool:
    """Whether the caller runs on asyncio (uvloop included), and not on trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def current_event_loop() -> EventLoop:
    """The loop that the caller runs on, on either backend."""
    if runs_on_asyncio():
        loop = asyncio.get_running_loop()
        return EventLoop(loop.call_soon, loop.call_soon_threadsafe)
    import trio  # only there when the application runs on it

    token = trio.lowlevel.current_trio_token()
    return EventLoop(token.run_sync_soon, token.run_sync_soon)


class Committer:
    """Runs one flush after the other for as long as there is something to write."""

    INLINE_BELOW_SECS = 0.0005
    """Flush in place while the usual flush takes less than this."""
    INLINE_UP_TO_SESSIONS = 8
    """Flush in place only where no more sessions than this wait: others have work to overlap."""

    def __init__(
        self, store: Store, loop: EventLoop, on_flush: Callable[[Any], None], waiting: Any
    ) -> None:
        self._store = store
        self._loop = loop
        self._on_flush = on_flush
        self._waiting = waiting
        self._scheduled = False
        self._running = False
        self._force = False
        self._usual_secs = self.INLINE_BELOW_SECS
        self._waits_for_sync = store.options.log.policy.kind == "every_ms"
        self.released = store.log.released
        """Answers that rest on records up to this offset may leave now.

        Under every_ms a sync begins when a record has reached the age at which no answer may
        leave any more before it is done: until then nothing may, and this is -1.
        """
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rstmdb-flush", daemon=True)
        self._thread.start()

    def commit_soon(self, *, force_sync: bool = False) -> None:
        """Flush at the end of this turn of the loop, or when the running flush is done."""
        if force_sync:
            self._force = True
        if not self._scheduled and not self._running:
            self._scheduled = True
            self._loop.call_soon(self._commit)

    @property
    def busy(self) -> bool:
        """Whether a flush is running or about to."""
        return self._scheduled or self._running

    def _commit(self) -> None:
        self._scheduled = False
        if self._running:
            return
        store = self._store
        force, self._force = self._force, False
        try:
            flush = store.begin_flush(force_sync=force)
        except LogFailed:
            return  # for good; whoever waited was told when it failed
        if flush is None:
            return
        if (
            len(self._waiting) <= self.INLINE_UP_TO_SESSIONS
            and self._usual_secs < self.INLINE_BELOW_SECS
        ):
            self._run(flush)
            self._end(flush)
            return
        self._running = True
        if self._waits_for_sync and flush.sync:
            self.released = -1
        self._queue.put(flush)

    def _run(self, flush: Any) -> None:
        """The blocking half of a flush, and what it usually takes: a mean that forgets."""
        began = perf_counter()
        flush.run()
        self._usual_secs += (perf_counter() - began - self._usual_secs) / 8

    def _work(self) -> None:
        while (flush := self._queue.get()) is not None:
            self._run(flush)
            self._loop.call_soon_threadsafe(partial(self._finish, flush))

    def _finish(self, flush: Any) -> None:
        self._running = False
        self._end(flush)
        self.commit_soon()

    def _end(self, flush: Any) -> None:
        result = self._store.end_flush(flush)
        self.released = result.released
        self._on_flush(result)

    def stop(self) -> None:
        """End the thread; nothing may be running."""
        self._queue.put(None)
        self._thread.join()
