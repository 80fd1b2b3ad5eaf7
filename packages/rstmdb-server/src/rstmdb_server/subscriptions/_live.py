"""The live feed: what each flush released, handed to those who keep up, a slice at a time.

However many watch, the event loop is held for a slice only: who is left gets the events in its
next turns, between the requests of everyone else. Whatever is released meanwhile makes the next
batch, so that the busier the server is, the more events go to a watcher in one write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import rstmdb_core as core

from ._encoded import Encoded
from ._subscription import Subscription

if TYPE_CHECKING:
    from rstmdb_server.session import Session

    from ._registry import Subscriptions

__all__ = ["Feed", "LiveFeed"]

Feed = Sequence[tuple[int, Any]]
"""Released entries with their offsets, in log order."""
Events = list[tuple[int, Any, Encoded | None]]
"""Offset, entry, and the message of an event; what ends a watch has none."""

SLICE_SECS = 0.00025
BATCH_ENTRIES = 256
BATCH_BYTES = 1024 * 1024
"""A watcher is handed entries of so many bytes of log at once, at most."""
MAX_QUEUED = 50_000
MAX_QUEUED_BYTES = 16 * 1024 * 1024
"""Entries, and bytes of log, that may wait to be handed out; beyond, the log is read instead."""


class LiveFeed:
    """Released entries on their way to those who watch live."""

    def __init__(
        self, registry: Subscriptions, call_soon: Callable[[Callable[[], None]], Any]
    ) -> None:
        self._registry = registry
        self._call_soon = call_soon
        self.published = registry.hub.store.log.released
        """Offset of the last record that was taken in."""
        self._queue: deque[tuple[int, Any]] = deque()
        self._batch: _Batch | None = None
        self._scheduled = False

    def publish(self, feed: Feed) -> None:
        """Take in newly released entries, and hand out a first slice."""
        queue = self._queue
        queue.extend(feed)
        self.published = max(self.published, self._registry.hub.store.log.released)
        if not self._scheduled:
            self._hand_out(perf_counter() + SLICE_SECS)
        if queue and (len(queue) > MAX_QUEUED or self.published - queue[0][0] > MAX_QUEUED_BYTES):
            self._give_up()

    def drain(self) -> None:
        """Hand out all that waits, however long it takes."""
        self._hand_out(float("inf"))

    def forget(self) -> None:
        """Drop all that waits: nobody watches."""
        self._queue.clear()
        self._batch = None

    @property
    def oldest_waiting(self) -> int | None:
        """The offset of the first entry that some watcher may not have been handed yet."""
        if self._batch is not None:
            return self._batch.first
        return self._queue[0][0] if self._queue else None

    def _go_on(self) -> None:
        self._scheduled = False
        self._hand_out(perf_counter() + SLICE_SECS)

    def _hand_out(self, deadline: float) -> None:
        touched: dict[Session, None] = {}
        while self._batch is not None or self._queue:
            if self._batch is None:
                self._batch = _Batch(self._registry, self._queue)
            if not self._batch.hand_out(touched, deadline):
                break
            self._batch = None
        for session in touched:
            session.flush()
        if (self._batch is not None or self._queue) and not self._scheduled:
            self._scheduled = True
            self._call_soon(self._go_on)

    def _give_up(self) -> None:
        """Too much waits: all who are served live go on from the log, where they stand."""
        first = self._queue[0][0]
        if self._batch is not None:
            first = self._batch.first
            self._batch.lag()
        for subscription in self._registry.all():
            if subscription.live:
                subscription.lag(first - 1)
            subscription.wake()
        self.forget()


class _Batch:
    """Some entries, those who may want them, and how many of those have been served."""

    def __init__(self, registry: Subscriptions, queue: deque[tuple[int, Any]]) -> None:
        self._registry = registry
        self.first = self._last = queue[0][0]
        events: Events = []
        of_instance: dict[str, Events] = {}
        machines: dict[str, None] = {}
        while queue and len(events) < BATCH_ENTRIES and queue[0][0] - self.first <= BATCH_BYTES:
            self._last, entry = queue.popleft()
            self._take(self._last, entry, events, of_instance, machines)
        self._events = events
        watchers = registry.watchers_of_any(machines) if events else []
        self._turns: list[tuple[Subscription, Events]] = [
            (subscription, mine)
            for instance_id, mine in of_instance.items()
            for subscription in registry.watchers_of_instance(instance_id)
        ]
        self._watchers = watchers
        self._at = 0

    def _take(
        self,
        offset: int,
        entry: Any,
        events: Events,
        of_instance: dict[str, Events],
        machines: dict[str, None],
    ) -> None:
        kind = type(entry)
        if kind is core.ApplyEvent:
            event = (offset, entry, Encoded(offset, entry))
            events.append(event)
            machines[entry.machine] = None
            if self._registry.is_watched(entry.instance_id):
                of_instance.setdefault(entry.instance_id, []).append(event)
        elif kind is core.DeleteInstance:
            if self._registry.is_watched(entry.instance_id):
                of_instance.setdefault(entry.instance_id, []).append((offset, entry, None))
        elif kind is core.FlushAll:
            for instance_id in self._registry.watched_instances():
                of_instance.setdefault(instance_id, []).append((offset, entry, None))

    def hand_out(self, touched: dict[Session, None], deadline: float) -> bool:
        """Serve watchers until the deadline; whether all have been served."""
        turns, watchers = self._turns, self._watchers
        while self._at < len(turns):
            self._serve(*turns[self._at], touched)
            self._at += 1
            if perf_counter() > deadline:
                return False
        while self._at < len(turns) + len(watchers):
            self._serve(watchers[self._at - len(turns)], self._events, touched)
            self._at += 1
            if perf_counter() > deadline:
                return False
        return True

    def _serve(
        self, subscription: Subscription, events: Events, touched: dict[Session, None]
    ) -> None:
        if not subscription.live:
            return
        session = subscription.session
        if not session.writable:
            subscription.lag(self.first - 1)
            return
        position = subscription.position
        wanted = subscription.filter
        forwarded = 0
        for offset, entry, encoded in events:
            if offset <= position:
                continue
            if encoded is None:
                reason = "flush_all" if type(entry) is core.FlushAll else "instance_deleted"
                self._registry.end(subscription, reason)
                break
            if wanted is None or wanted(entry):
                subscription.deliver(encoded)
                forwarded += 1
        if forwarded:
            touched[session] = None
            self._registry.hub.metrics.events_forwarded[subscription.kind] += forwarded

    def lag(self) -> None:
        """Note where those who have been served stand, as what is left is not handed out."""
        served = [s for s, _ in self._turns[: self._at]]
        served += self._watchers[: max(0, self._at - len(self._turns))]
        for subscription in served:
            if subscription.live:
                subscription.lag(self._last)
