"""Watches: events in log order, each exactly once, over as many connections as it takes.

A watch has a connection of its own, so that a reader that takes its time holds up no calls:
what it does not read waits in the socket, and then in the server's log. After a broken
connection it goes on behind the last event that it has handed out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

import rstmdb_protocol as rcp

from ._calls import Raw
from ._errors import ConnectFailed, ConnectionLost, NotFoundError, WatchEnded, server_error
from ._retry import backoff_secs
from ._url import Target

if TYPE_CHECKING:
    from ._sync import SyncLink

__all__ = ["SyncWatch", "WatchRequest"]

FEATURES = (rcp.Feature.WATCH, rcp.Feature.WATCH_END)


class WatchRequest:
    """What is watched, and from where: it moves on with every event that is handed out."""

    def __init__(self, op: str, params: Raw, from_offset: int | None) -> None:
        self.op = op
        self._params = {name: value for name, value in params.items() if value is not None}
        self._from_offset = from_offset

    @classmethod
    def instance(cls, instance_id: str, include_ctx: bool, from_offset: int | None) -> WatchRequest:
        """WATCH_INSTANCE."""
        params = {"instance_id": instance_id, "include_ctx": include_ctx}
        return cls("WATCH_INSTANCE", params, from_offset)

    @classmethod
    def all(
        cls,
        machines: Sequence[str] | None,
        from_states: Sequence[str] | None,
        to_states: Sequence[str] | None,
        events: Sequence[str] | None,
        include_ctx: bool,
        from_offset: int | None,
    ) -> WatchRequest:
        """WATCH_ALL."""
        params = {
            "machines": machines,
            "from_states": from_states,
            "to_states": to_states,
            "events": events,
            "include_ctx": include_ctx,
        }
        return cls("WATCH_ALL", params, from_offset)

    def params(self) -> Raw:
        """The params of the next request."""
        if self._from_offset is None:
            return self._params
        return {**self._params, "from_offset": self._from_offset}

    def began(self, answer: rcp.ResponseMessage) -> Raw:
        """Note where the watch began. Raises WatchEnded, ServerError."""
        if answer.error is not None:
            error = server_error(answer.error)
            if isinstance(error, NotFoundError) and self._from_offset:
                raise WatchEnded("compacted", error.details.get("earliest_offset")) from error
            raise error
        result: Raw = msgspec.json.decode(answer.result)
        if self._from_offset is None:
            head: int = result["wal_offset" if "wal_offset" in result else "current_wal_offset"]
            self._from_offset = head + 1
        return result

    def took(self, event: rcp.EventMessage) -> None:
        """An event is handed out: the next request begins behind it."""
        self._from_offset = event.wal_offset + 1

    def ended(self, message: rcp.EndMessage) -> None:
        """The server ended the watch: go on where it says, unless it can't. Raises WatchEnded."""
        if message.reason != "server_stopping":
            raise WatchEnded(message.reason, message.resume_from)
        if message.resume_from is not None:
            self._from_offset = max(self._from_offset or 0, message.resume_from)


class SyncWatch(Iterator[rcp.EventMessage]):
    """Iterate over events, blocking for the next one. Raises WatchEnded where it can't go on.

    Reconnects for as long as it takes. `close` ends it, also from another thread; as a
    context manager it connects at once, and `begun` holds the server's answer.
    """

    def __init__(
        self,
        target: Target,
        request: WatchRequest,
        rng: random.Random,
        sleep: Callable[[float], None],
    ) -> None:
        self._target = target
        self._request = request
        self._rng = rng
        self._sleep = sleep
        self._link: SyncLink | None = None
        self._closed = False
        self.begun: dict[str, Any] = {}
        """The result of the watch request: subscription_id, and state or offset."""

    def __next__(self) -> rcp.EventMessage:
        """The next event; StopIteration after `close`."""
        pauses = backoff_secs(self._rng)
        while not self._closed:
            try:
                if self._link is None:
                    self._connect()
                event = self._next_event()
            except (ConnectFailed, ConnectionLost):
                self._drop()
                if not self._closed:
                    self._sleep(next(pauses))
                continue
            if event is not None:
                self._request.took(event)
                return event
        raise StopIteration

    def _next_event(self) -> rcp.EventMessage | None:
        link = self._link
        if link is None:
            return None
        message = link.receive(None)
        if isinstance(message, rcp.EventMessage):
            return message
        if isinstance(message, rcp.EndMessage):
            self._request.ended(message)
            self._drop()
        return None

    def _connect(self) -> None:
        from ._sync import SyncLink

        self._link = SyncLink(self._target, FEATURES)
        timeout = self._target.request_timeout
        self.begun = self._request.began(
            self._link.ask(self._request.op, self._request.params(), timeout)
        )

    def _drop(self) -> None:
        if self._link is not None:
            with suppress(OSError):
                self._link.close()
            self._link = None

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self._drop()

    def __enter__(self) -> SyncWatch:
        """Connect and begin."""
        if self._link is None:
            self._connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""
        self.close()
