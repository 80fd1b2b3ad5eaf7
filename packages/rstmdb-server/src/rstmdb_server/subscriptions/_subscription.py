"""One watcher: what it wants, and how far it has been served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rstmdb_core as core

from ._encoded import Encoded, prefix_of
from ._filter import EventFilter

if TYPE_CHECKING:
    from rstmdb_server.session import Session

    from ._registry import Subscriptions

__all__ = ["Subscription"]


class Subscription:
    """A position in the log, and the session that events go to."""

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
        "queued",
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
        """Everything up to this offset has been served or did not match; kept while not live."""
        self.prefix = prefix_of(subscription_id)
        self.started = False
        self.live = False
        self.queued = False
        """Waits for its turn to be served from the log."""
        self.closed = False

    def start(self) -> None:
        """Events may follow: the answer to the watch has left."""
        self.started = True
        self.wake()

    def wake(self) -> None:
        """Go live where nothing lies between, else wait for a turn to read the log."""
        if self.closed or self.live or self.queued or not self.started:
            return
        if self.position >= self.owner.feed.published:
            self.live = True
        else:
            self.owner.replay.add(self)

    def lag(self, position: int) -> None:
        """Stop being live: everything up to `position` was served."""
        self.live = False
        self.position = max(self.position, position)

    def matches(self, entry: core.ApplyEvent) -> bool:
        """Whether an event is for this watcher."""
        if self.instance_id is not None:
            return bool(entry.instance_id == self.instance_id)
        return self.filter is None or self.filter(entry)

    def deliver(self, encoded: Encoded) -> None:
        """Queue an event for the session."""
        self.session.push(encoded.payload(self.prefix, self.include_ctx))
