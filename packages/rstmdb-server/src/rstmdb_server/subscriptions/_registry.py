"""All subscriptions of the server, by what they watch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import EndMessage, encode_json

from ._live import LiveFeed
from ._replay import Replay
from ._subscription import Subscription

if TYPE_CHECKING:
    from rstmdb_server.committer import EventLoop
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session

__all__ = ["Subscriptions"]

_Group = dict[str, Subscription]


class Subscriptions:
    """Finds who wants an event without asking everyone: by instance and by machine."""

    def __init__(self, hub: Hub, loop: EventLoop) -> None:
        self.hub = hub
        self._by_instance: dict[str, _Group] = {}
        self._by_machine: dict[str, _Group] = {}
        """WATCH_ALLs that name machines, under each of them."""
        self._of_any: _Group = {}
        """WATCH_ALLs that name no machine."""
        self._all: _Group = {}
        self._count = 0
        self.feed = LiveFeed(self, loop.call_soon)
        self.replay = Replay(self)

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return len(self._all)

    def all(self) -> list[Subscription]:
        """Every subscription, as they are now."""
        return list(self._all.values())

    def watched_instances(self) -> list[str]:
        """The ids of all instances that someone watches."""
        return list(self._by_instance)

    def watchers_of_instance(self, instance_id: str) -> list[Subscription]:
        """Who watches one instance."""
        return list(self._by_instance.get(instance_id, {}).values())

    def is_watched(self, instance_id: str) -> bool:
        """Whether someone watches one instance."""
        return instance_id in self._by_instance

    def watchers_of_any(self, machines: Iterable[str]) -> list[Subscription]:
        """The WATCH_ALLs that may want events of these machines; other filters aside."""
        named: _Group = {}
        if self._by_machine:
            for machine in machines:
                named.update(self._by_machine.get(machine, {}))
        return [*self._of_any.values(), *named.values()]

    def add(self, session: Session, position: int, **wanted: Any) -> Subscription:
        """Register a watcher whose first event lies behind `position`."""
        self._count += 1
        subscription = Subscription(self, session, f"sub-{self._count}", position, **wanted)
        session.subscriptions[subscription.id] = subscription
        if not self._all:
            self.feed.published = self.hub.store.log.released
            self.hub.store.listener = self.feed.publish
        self._all[subscription.id] = subscription
        for groups, key in self._groups_of(subscription):
            groups.setdefault(key, {})[subscription.id] = subscription
        if self._watches_any(subscription):
            self._of_any[subscription.id] = subscription
        self.hub.metrics.subscriptions_active[subscription.kind] += 1
        return subscription

    @staticmethod
    def _watches_any(subscription: Subscription) -> bool:
        chosen = subscription.filter
        return subscription.instance_id is None and not (chosen and chosen.machines)

    def _groups_of(self, subscription: Subscription) -> Iterator[tuple[dict[str, _Group], str]]:
        if subscription.instance_id is not None:
            yield self._by_instance, subscription.instance_id
        elif subscription.filter is not None:
            for machine in subscription.filter.machines:
                yield self._by_machine, machine

    def drop(self, subscription: Subscription) -> None:
        """Forget a watcher; nothing is sent."""
        if subscription.closed:
            return
        subscription.closed = True
        subscription.live = False
        subscription.session.subscriptions.pop(subscription.id, None)
        self.hub.metrics.subscriptions_active[subscription.kind] -= 1
        del self._all[subscription.id]
        self._of_any.pop(subscription.id, None)
        for groups, key in self._groups_of(subscription):
            del groups[key][subscription.id]
            if not groups[key]:
                del groups[key]
        if not self._all:
            self.hub.store.listener = None
            self.feed.forget()

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
            session.push_last(message)
            session.flush()
        elif reason != "instance_deleted":
            # A client that knows no end message understands a closed connection.
            session.close()
            session.flush()

    def end_all(self, reason: str) -> None:
        """End every subscription, as the server stops."""
        self.feed.drain()
        for subscription in self.all():
            served = self.feed.published if subscription.live else subscription.position
            self.end(subscription, reason, served + 1)

    def oldest_position(self) -> int | None:
        """The position of the watcher that lags most, or None when all are live."""
        behind = [s.position for s in self._all.values() if not s.live]
        waiting = self.feed.oldest_waiting
        if waiting is not None:
            behind.append(waiting - 1)
        return min(behind, default=None)
