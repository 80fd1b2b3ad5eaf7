"""Watching an embedded database: an iterator that reads the log and waits at its end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import rstmdb_core as core

from ._views import WatchEvent

if TYPE_CHECKING:
    from ._waiting import Waiting

__all__ = ["Watch"]


class Watch(Iterator[WatchEvent]):
    """Transitions in log order, each exactly once.

    A watch is a position in the log, so that however slow its reader is, it costs no memory
    and misses nothing. `closed` tells that `close` was called.
    """

    def __init__(
        self,
        database: Waiting,
        position: int,
        instance_id: str | None,
        machines: Sequence[str],
        events: Sequence[str],
        timeout: float | None,
    ) -> None:
        self._database = database
        self._read_to = position
        self.position = position
        """The offset up to which everything was delivered; resume from the one behind it."""
        self._instance_id = instance_id
        self._machines = frozenset(machines)
        self._events = frozenset(events)
        self._timeout = timeout
        self._page: deque[tuple[int, core.ApplyEvent]] = deque()
        self.closed = False

    def close(self) -> None:
        """End the iteration, also for a thread that waits in it; hold back no compaction."""
        self.closed = True
        self._database.wake_watches()

    def __next__(self) -> WatchEvent:
        """The next transition; StopIteration after `timeout` without one, and after close."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        page = self._page
        while not page:
            released = self._database.wait_for_records(self, deadline)
            if released is None:
                raise StopIteration
            found, self._read_to = self._database.read_events(self._read_to + 1, released)
            page.extend(
                (offset, entry)
                for offset, entry in found
                if isinstance(entry, core.ApplyEvent) and self._wanted(entry)
            )
            if not page:
                self.position = self._read_to
        if self.closed:
            raise StopIteration
        offset, entry = page.popleft()
        self.position = offset if page else self._read_to
        return WatchEvent(
            entry.instance_id,
            entry.machine,
            entry.version,
            offset,
            entry.from_state,
            entry.to_state,
            entry.event,
            entry.payload,
            entry.ctx,
        )

    def _wanted(self, entry: core.ApplyEvent) -> bool:
        return (
            (self._instance_id is None or entry.instance_id == self._instance_id)
            and (not self._machines or entry.machine in self._machines)
            and (not self._events or entry.event in self._events)
        )
