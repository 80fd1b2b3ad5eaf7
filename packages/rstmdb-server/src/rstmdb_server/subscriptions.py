"""Live subscriptions: every matching released event exactly once and in log order.

A subscription is a position in the log. While it keeps up it is *live*: each flush hands it
the events that it released. When its session's output is full it stops being live and costs
a position, not memory; a task then reads the log from there and hands it back to the live
feed at the moment when nothing lies between the two.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

import rstmdb_core as core
from rstmdb_protocol import FLAG_END_STREAM, FLAG_STREAM, EndMessage, encode_json
from rstmdb_storage import OffsetGone

if TYPE_CHECKING:
    from .hub import Hub
    from .session import Session

__all__ = ["EventFilter", "Feed", "Subscription", "Subscriptions"]

logger = logging.getLogger("rstmdb.subscriptions")

Feed = Sequence[tuple[int, Any]]


class _Event(Struct, frozen=True, gc=False):
    """The fields of an event after type and subscription_id."""

    instance_id: str
    machine: str
    version: int
    wal_offset: int
    from_state: str
    to_state: str
    event: str
    payload: Any
    ctx: Any = UNSET


class EventFilter:
    """AND between kinds, OR within one; empty means all."""

    __slots__ = ("events", "from_states", "machines", "to_states")

    def __init__(
        self,
        machines: Sequence[str] | None = None,
        from_states: Sequence[str] | None = None,
        to_states: Sequence[str] | None = None,
        events: Sequence[str] | None = None,
    ) -> None:
        self.machines = frozenset(machines or ())
        self.from_states = frozenset(from_states or ())
        self.to_states = frozenset(to_states or ())
        self.events = frozenset(events or ())

    def __bool__(self) -> bool:
        """Whether anything is filtered out at all."""
        return bool(self.machines or self.from_states or self.to_states or self.events)

    def __call__(self, entry: core.ApplyEvent) -> bool:
        """Whether the entry passes."""
        return (
            (not self.machines or entry.machine in self.machines)
            and (not self.from_states or entry.from_state in self.from_states)
            and (not self.to_states or entry.to_state in self.to_states)
            and (not self.events or entry.event in self.events)
        )


class Encoded:
    """One event's encoded fields, made once however many watchers there are."""

    __slots__ = ("_entry", "_offset", "_plain", "_with_ctx")

    def __init__(self, offset: int, entry: core.ApplyEvent) -> None:
        self._offset = offset
        self._entry = entry
        self._plain = b""
        self._with_ctx = b""

    def payload(self, prefix: bytes, include_ctx: bool) -> bytes:
        """The message for one subscription, whose encoded beginning is `prefix`."""
        if include_ctx:
            if not self._with_ctx:
                self._with_ctx = self._encode(self._entry.ctx)
            return prefix + self._with_ctx
        if not self._plain:
            self._plain = self._encode(UNSET)
        return prefix + self._plain

    def _encode(self, ctx: Any) -> bytes:
        entry = self._entry
        event = _Event(
            entry.instance_id,
            entry.machine,
            entry.version,
            self._offset,
            entry.from_state,
            entry.to_state,
            entry.event,
            entry.payload,
            ctx,
        )
        return encode_json(event)[1:]


class Subscription:
    """One watcher: what it wants, and how far it has been served."""

    __slots__ = (
        "closed",
        "filter",
        "id",
        "include_ctx",
        "instance_id",
        "kind",
        "live",
        "owner",
        "position",
        "prefix",
        "reading",
        "session",
        "started",
    )

    def __init__(
        self,
        owner: Subscriptions,
        session: Session,
        subscription_id: str,
        position: int,
        *,
        instance_id: str | None = None,
        event_filter: EventFilter | None = None,
        include_ctx: bool = True,
    ) -> None:
        self.owner = owner
        self.session = session
        self.id = subscription_id
        self.kind = "all" if instance_id is None else "instance"
        self.instance_id = instance_id
        self.filter = event_filter
        self.include_ctx = include_ctx
        self.position = position
        """Everything up to this offset has been served or did not match."""
        self.prefix = b'{"type":"event","subscription_id":' + encode_json(subscription_id) + b","
        self.started = False
        self.live = False
        self.reading = False
        self.closed = False

    def start(self) -> None:
        """Events may follow: the answer to the watch has left."""
        self.started = True
        self.wake()

    def wake(self) -> None:
        """Go live where nothing lies between, else read the log."""
        if self.closed or self.live or not self.started:
            return
        if self.position >= self.owner.published:
            self.live = True
        elif not self.reading:
            self.reading = True
            self.owner.hub.spawn(self.owner.catch_up, self)

    def ended(self) -> bool:
        """Whether nothing more may be sent for it."""
        return self.closed

    def matches(self, entry: core.ApplyEvent) -> bool:
        """Whether an event is for this watcher."""
        if self.instance_id is not None:
            return bool(entry.instance_id == self.instance_id)
        return self.filter is None or self.filter(entry)

    def deliver(self, encoded: Encoded) -> None:
        """Queue an event for the session."""
        self.session.push(encoded.payload(self.prefix, self.include_ctx), FLAG_STREAM)
        self.owner.hub.metrics.events_forwarded[self.kind] += 1


class Subscriptions:
    """All subscriptions of the server, by what they watch."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.published = hub.store.log.released
        """Offset of the last record that live subscriptions were told of."""
        self._by_instance: dict[str, dict[str, Subscription]] = {}
        self._all: dict[str, Subscription] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return sum(map(len, self._by_instance.values())) + len(self._all)

    def add(self, session: Session, position: int, **wanted: Any) -> Subscription:
        """Register a watcher whose first event lies behind `position`."""
        self._count += 1
        subscription = Subscription(self, session, f"sub-{self._count}", position, **wanted)
        session.subscriptions[subscription.id] = subscription
        if subscription.instance_id is None:
            self._all[subscription.id] = subscription
        else:
            watchers = self._by_instance.setdefault(subscription.instance_id, {})
            watchers[subscription.id] = subscription
        self.hub.metrics.subscriptions_active[subscription.kind] += 1
        if self.hub.store.listener is None:
            self.published = self.hub.store.log.released
            self.hub.store.listener = self.publish
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Forget a watcher; nothing is sent."""
        if subscription.closed:
            return
        subscription.closed = True
        subscription.live = False
        subscription.session.subscriptions.pop(subscription.id, None)
        self.hub.metrics.subscriptions_active[subscription.kind] -= 1
        if subscription.instance_id is None:
            del self._all[subscription.id]
        else:
            watchers = self._by_instance[subscription.instance_id]
            del watchers[subscription.id]
            if not watchers:
                del self._by_instance[subscription.instance_id]
        if not self._all and not self._by_instance:
            self.hub.store.listener = None

    def drop_session(self, session: Session) -> None:
        """Forget all watchers of a session."""
        for subscription in list(session.subscriptions.values()):
            self.drop(subscription)

    def end(self, subscription: Subscription, reason: str, resume_from: int | None = None) -> None:
        """End a subscription that can't go on, so that its client knows."""
        session = subscription.session
        self.drop(subscription)
        if "watch_end" in session.connection.features:
            message = encode_json(EndMessage(subscription.id, reason, resume_from))
            session.push(message, FLAG_STREAM | FLAG_END_STREAM)
            session.flush()
        elif reason != "instance_deleted":
            # A client that knows no end message understands a closed connection.
            session.close()
            session.flush()

    def end_all(self, reason: str) -> None:
        """End every subscription, as the server stops."""
        for subscription in [*self._all.values(), *self._instance_watchers()]:
            served = self.published if subscription.live else subscription.position
            self.end(subscription, reason, served + 1)

    def _instance_watchers(self) -> list[Subscription]:
        return [s for watchers in self._by_instance.values() for s in watchers.values()]

    def oldest_position(self) -> int | None:
        """The position of the watcher that lags most, or None when all are live."""
        behind = [
            s.position for s in (*self._all.values(), *self._instance_watchers()) if not s.live
        ]
        return min(behind, default=None)

    # -- live -----------------------------------------------------------------------------

    def publish(self, feed: Feed) -> None:
        """Hand newly released entries to the live subscriptions."""
        touched: dict[Session, None] = {}
        for offset, entry in feed:
            kind = type(entry)
            if kind is core.ApplyEvent:
                self._publish_event(offset, entry, touched)
            elif kind is core.DeleteInstance:
                for watcher in list(self._by_instance.get(entry.instance_id, {}).values()):
                    if watcher.live:
                        self.end(watcher, "instance_deleted")
            elif kind is core.FlushAll:
                for watcher in self._instance_watchers():
                    if watcher.live:
                        self.end(watcher, "flush_all")
        self.published = max(self.published, self.hub.store.log.released)
        for session in touched:
            session.flush()

    def _publish_event(
        self, offset: int, entry: core.ApplyEvent, touched: dict[Session, None]
    ) -> None:
        encoded = Encoded(offset, entry)
        watchers = self._by_instance.get(entry.instance_id)
        for subscription in (*(watchers.values() if watchers else ()), *self._all.values()):
            if not subscription.live or offset <= subscription.position:
                continue
            if subscription.filter is not None and not subscription.filter(entry):
                continue
            session = subscription.session
            if session.writable:
                subscription.deliver(encoded)
                touched[session] = None
            else:
                subscription.live = False
                subscription.position = offset - 1

    # -- from the log ---------------------------------------------------------------------

    async def catch_up(self, subscription: Subscription) -> None:
        """Serve a subscription from the log until it meets the live feed."""
        hub = self.hub
        try:
            while not subscription.ended():
                session = subscription.session
                if not session.writable:
                    return  # resume_writing wakes it again
                if subscription.position >= self.published:
                    subscription.live = True
                    return
                page, subscription_end = await hub.run_blocking(
                    hub.store.read_events, subscription.position + 1, self.published
                )
                if subscription.ended():
                    return
                self._serve(subscription, page)
                subscription.position = max(subscription.position, subscription_end)
                session.flush()
        except OffsetGone as error:
            self.end(subscription, "compacted", error.earliest_offset)
        except Exception:
            logger.exception("subscription %s can't be served from the log", subscription.id)
            self.end(subscription, "log_read_failed", subscription.position + 1)
        finally:
            subscription.reading = False

    def _serve(self, subscription: Subscription, page: Feed) -> None:
        for offset, entry in page:
            if type(entry) is core.ApplyEvent:
                if subscription.matches(entry):
                    subscription.deliver(Encoded(offset, entry))
            elif subscription.instance_id is not None and (
                type(entry) is core.FlushAll or entry.instance_id == subscription.instance_id
            ):
                reason = "flush_all" if type(entry) is core.FlushAll else "instance_deleted"
                self.end(subscription, reason)
                return
