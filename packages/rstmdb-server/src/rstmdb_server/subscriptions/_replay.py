"""Serving from the log those who lag, page by page, in turn.

One task serves them all, so that what they cost together is bounded however many there are.
Pages are kept for a while: watchers that lag together read together.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

import rstmdb_core as core
from rstmdb_storage import OffsetGone

from ._encoded import Encoded
from ._subscription import Subscription

if TYPE_CHECKING:
    from ._registry import Subscriptions

__all__ = ["Replay"]

logger = logging.getLogger("rstmdb.subscriptions")

PAGES_KEPT = 4


class _Page:
    """Released entries of a stretch of the log that watchers care about."""

    __slots__ = ("encoded", "entries", "offsets", "reaches", "starts")

    def __init__(self, starts: int, reaches: int, entries: list[tuple[int, Any]]) -> None:
        self.starts = starts
        """It holds all that lies behind this offset ..."""
        self.reaches = reaches
        """... up to this one."""
        self.entries = [entry for _, entry in entries]
        self.offsets = [offset for offset, _ in entries]
        self.encoded: dict[int, Encoded] = {}


class Replay:
    """The watchers that lag, in the order of their turns."""

    def __init__(self, registry: Subscriptions) -> None:
        self._registry = registry
        self._turns: deque[Subscription] = deque()
        self._pages: deque[_Page] = deque(maxlen=PAGES_KEPT)
        self._running = False

    def add(self, subscription: Subscription) -> None:
        """Serve a watcher from its position on until it meets the live feed."""
        subscription.queued = True
        self._turns.append(subscription)
        if not self._running:
            self._running = True
            self._registry.hub.spawn(self._run)

    async def _run(self) -> None:
        try:
            while self._turns:
                subscription = self._turns.popleft()
                subscription.queued = False
                if await self._serve_turn(subscription):
                    self._turns.append(subscription)
                    subscription.queued = True
        finally:
            self._running = False

    async def _serve_turn(self, subscription: Subscription) -> bool:
        """Serve one page; whether the watcher needs another turn."""
        feed = self._registry.feed
        if subscription.closed or not subscription.session.writable:
            return False  # resume_writing wakes it again
        if subscription.position >= feed.published:
            subscription.live = True
            return False
        try:
            page = await self._page(subscription.position)
        except OffsetGone as error:
            self._registry.end(subscription, "compacted", error.earliest_offset)
            return False
        except Exception:
            logger.exception("subscription %s can't be served from the log", subscription.id)
            self._registry.end(subscription, "log_read_failed", subscription.position + 1)
            return False
        if not subscription.closed:
            self._serve(subscription, page)
            subscription.session.flush()
        return not subscription.closed

    async def _page(self, position: int) -> _Page:
        """A page that holds what follows a position. Raises OffsetGone, StorageError."""
        for page in self._pages:
            if page.starts <= position < page.reaches:
                await anyio.lowlevel.checkpoint()  # others have their turn as well
                return page
        hub = self._registry.hub
        upto = self._registry.feed.published
        entries, reached = await hub.run_blocking(hub.store.read_events, position + 1, upto)
        page = _Page(position, max(reached, position), entries)
        self._pages.append(page)
        return page

    def _serve(self, subscription: Subscription, page: _Page) -> None:
        forwarded = 0
        for at in range(bisect_right(page.offsets, subscription.position), len(page.offsets)):
            entry = page.entries[at]
            if type(entry) is core.ApplyEvent:
                if subscription.matches(entry):
                    encoded = page.encoded.get(at)
                    if encoded is None:
                        encoded = page.encoded[at] = Encoded(page.offsets[at], entry)
                    subscription.deliver(encoded)
                    forwarded += 1
            elif subscription.instance_id is not None and (
                type(entry) is core.FlushAll or entry.instance_id == subscription.instance_id
            ):
                reason = "flush_all" if type(entry) is core.FlushAll else "instance_deleted"
                self._registry.end(subscription, reason)
                break
        subscription.position = max(subscription.position, page.reaches)
        self._registry.hub.metrics.events_forwarded[subscription.kind] += forwarded
