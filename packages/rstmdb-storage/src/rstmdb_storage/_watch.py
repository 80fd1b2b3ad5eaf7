"""Watching an embedded database: an iterator that reads the log and waits at its end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import rstmdb_core as core

from ._errors import DatabaseClosed
from ._views import WatchEvent

if TYPE_CHECKING:
    from ._waiting import Waiting

__all__ = ["Wanted", "Watch"]


class Wanted(NamedTuple):
    """What a watch delivers: AND between kinds, OR within one; empty means all."""

    instance_id: str | None = None
    machines: Collection[str] = ()
    from_states: Collection[str] = ()
    to_states: Collection[str] = ()
    events: Collection[str] = ()
    include_ctx: bool = True
    until_deleted: bool = False
    """End with InstanceNotFound where the instance is deleted."""

    def takes(self, entry: core.Entry) -> bool:
        """Whether an entry is delivered, or ends the watch."""
        if isinstance(entry, core.ApplyEvent):
            return (
                self.instance_id in (None, entry.instance_id)
                and (not self.machines or entry.machine in self.machines)
                and (not self.from_states or entry.from_state in self.from_states)
                and (not self.to_states or entry.to_state in self.to_states)
                and (not self.events or entry.event in self.events)
            )
        if isinstance(entry, core.DeleteInstance):
            return self.until_deleted and entry.instance_id == self.instance_id
        return self.until_deleted and isinstance(entry, core.FlushAll)


class Watch(Iterator[WatchEvent]):
    """Transitions in log order, each exactly once.

    A watch is a position in the log, so that however slow its reader is, it costs no memory
    and misses nothing. `closed` tells that `close` was called; the end of a `with` block does.
    """

    def __init__(
        self, database: Waiting, position: int, wanted: Wanted, timeout: float | None
    ) -> None:
        self._database = database
        self._read_to = position
        self.position = position
        """The offset up to which everything was delivered; resume from the one behind it."""
        self._wanted = wanted
        self._timeout = timeout
        self._page: deque[tuple[int, core.Entry]] = deque()
        self.closed = False

    @property
    def next_offset(self) -> int:
        """The `from_offset` with which a new watch goes on behind this one."""
        return self.position + 1

    def close(self) -> None:
        """End the iteration, also for a thread that waits in it; hold back no compaction."""
        self.closed = True
        self._database.wake_watches()

    def __next__(self) -> WatchEvent:
        """The next transition; StopIteration after `timeout` without one, and after close."""
        event = self._next(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def receive(self, timeout: float | None = None) -> WatchEvent:
        """The next transition, waited for at most `timeout` seconds where that is given.

        Raises TimeoutError, after which the watch goes on; DatabaseClosed, also where the watch
        was closed; and what iterating raises.
        """
        event = self._next(timeout)
        if event is None:
            self._database.check_readable()
            if self.closed:
                raise DatabaseClosed("the watch is closed")
            raise TimeoutError("no event in time")
        return event

    def _next(self, timeout: float | None) -> WatchEvent | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        page = self._page
        while not page:
            released = self._database.wait_for_records(self, deadline)
            if released is None:
                return None
            found, self._read_to = self._database.read_events(self._read_to + 1, released)
            page.extend((offset, entry) for offset, entry in found if self._wanted.takes(entry))
            if not page:
                self.position = self._read_to
        if self.closed:
            return None
        offset, entry = page.popleft()
        self.position = offset if page else self._read_to
        if not isinstance(entry, core.ApplyEvent):
            self.close()
            name = self._wanted.instance_id
            raise core.InstanceNotFound(f"instance {name!r} was deleted", {"instance_id": name})
        return WatchEvent(
            entry.instance_id,
            entry.machine,
            entry.version,
            offset,
            entry.from_state,
            entry.to_state,
            entry.event,
            entry.payload,
            entry.ctx if self._wanted.include_ctx else {},
        )

    def __enter__(self) -> Watch:
        """The watch itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
