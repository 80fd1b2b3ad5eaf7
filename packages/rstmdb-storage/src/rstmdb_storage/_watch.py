"""Watching an embedded database: an iterator that reads the log and waits at its end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import rstmdb_core as core

from ._views import WatchEvent

if TYPE_CHECKING:
    from ._database import Database

__all__ = ["Watch"]


class Watch(Iterator[WatchEvent]):
    """Transitions in log order, each exactly once.

    A watch is a position in the log, so that however slow its reader is, it costs no memory
    and misses nothing; only compaction can overtake it (OffsetGone).
    """

    def __init__(
        self,
        database: Database,
        position: int,
        instance_id: str | None,
        machines: Sequence[str],
        events: Sequence[str],
        timeout: float | None,
    ) -> None:
        self._database = database
        self._position = position
        self._instance_id = instance_id
        self._machines = frozenset(machines)
        self._events = frozenset(events)
        self._timeout = timeout
        self._page: deque[tuple[int, core.ApplyEvent]] = deque()

    @property
    def position(self) -> int:
        """The offset up to which everything was delivered; resume from the one behind it."""
        return self._page[0][0] - 1 if self._page else self._position

    def __next__(self) -> WatchEvent:
        """The next transition; StopIteration after `timeout` without one, and after close."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._page:
            released = self._database.wait_for_records(self._position, deadline)
            if released is None:
                raise StopIteration
            found, self._position = self._database.read_events(self._position + 1, released)
            self._page.extend(
                (offset, entry)
                for offset, entry in found
                if isinstance(entry, core.ApplyEvent) and self._wanted(entry)
            )
        offset, entry = self._page.popleft()
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
