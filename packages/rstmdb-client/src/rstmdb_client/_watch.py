"""What a watch asks for and where it stands: no I/O, shared by both kinds of watch.

A watch has a connection of its own, so that a reader that takes its time holds up no calls:
what it does not read waits in the socket, and then in the server's log. After a broken
connection it goes on behind the last event that it has handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rstmdb_protocol as rcp

from ._calls import Raw, read_result
from ._errors import (
    ConnectionLost,
    InstanceNotFoundError,
    NotFoundError,
    ServerError,
    UnexpectedAnswer,
    WatchEnded,
)

__all__ = ["WatchPosition", "WatchRequest"]

_STOPPING = "server_stopping"


class WatchRequest:
    """What is watched, and from where: it moves on with every event that is handed out."""

    def __init__(self, op: str, params: Raw, from_offset: int | None) -> None:
        self.op = op
        self._params = {name: value for name, value in params.items() if value is not None}
        self._from_offset = from_offset
        self._earliest: int | None = None
        """The oldest offset that the server keeps, once it has refused an older one."""
        self.begun: dict[str, Any] = {}
        """The result of the latest watch request; empty before the first."""

    @classmethod
    def instance(cls, instance_id: str, include_ctx: bool, from_offset: int | None) -> WatchRequest:
        """WATCH_INSTANCE."""
        params = {"instance_id": instance_id, "include_ctx": include_ctx}
        return cls("WATCH_INSTANCE", params, from_offset or None)

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
        if self._from_offset is None or self._earliest is not None:
            return self._params
        return {**self._params, "from_offset": self._from_offset}

    def began(self, answer: rcp.ResponseMessage) -> bool:
        """Note where the watch began; False where the same server is to be asked once more.

        Raises WatchEnded where a resumed watch finds its place gone, ServerError where the
        server refuses, ConnectionLost for a refusal that may go away.
        """
        try:
            result = read_result(self.op, answer, Raw)
            head: int = result["wal_offset" if self.op == "WATCH_ALL" else "current_wal_offset"]
        except KeyError as error:
            raise UnexpectedAnswer(f"{self.op}: an answer without {error}") from error
        except NotFoundError as error:
            return self._compacted(error)
        except InstanceNotFoundError as error:
            if self.begun:
                raise WatchEnded("instance_deleted", None) from error
            raise
        except ServerError as error:
            if error.retryable and self.begun:
                raise ConnectionLost(str(error)) from error
            raise
        earliest, self._earliest = self._earliest, None
        if earliest is not None and self._from_offset is not None and head >= self._from_offset:
            raise WatchEnded("compacted", earliest)
        self.begun = result
        if self._from_offset is None:
            self._from_offset = head + 1
        return True

    def _compacted(self, error: NotFoundError) -> bool:
        """The place is gone: raise, or, of an instance, ask whether anything happened since.

        Other instances' events move the log on, so that the place of a watch whose instance
        rests is compacted away although it has missed nothing. A watch from now on tells, by
        the offset of the instance's last record.
        """
        if not self._from_offset or self._earliest is not None:
            raise error
        earliest = error.details.get("earliest_offset")
        if self.op != "WATCH_INSTANCE" or not isinstance(earliest, int):
            raise WatchEnded("compacted", earliest) from error
        self._earliest = earliest
        return False

    def take(self, message: rcp.ServerMessage) -> rcp.EventMessage | None:
        """The event to hand out, if the message is one: the next request begins behind it.

        Raises WatchEnded, and ConnectionLost where the server stops.
        """
        if isinstance(message, rcp.EventMessage):
            self._from_offset = message.wal_offset + 1
            return message
        if isinstance(message, rcp.EndMessage):
            if message.reason != _STOPPING:
                raise WatchEnded(message.reason, message.resume_from)
            raise ConnectionLost("the server stops")
        return None

    @property
    def subscription_id(self) -> str | None:
        """The server's name for the subscription, a new one after each reconnect."""
        return self.begun.get("subscription_id")

    @property
    def current_state(self) -> str | None:
        """The watched instance's state when the watch last began; None for a watch of all."""
        return self.begun.get("current_state")

    @property
    def next_offset(self) -> int | None:
        """From where a new watch would go on behind this one; None before it began."""
        return self._from_offset


class WatchPosition:
    """Where a watch stands: what both kinds of watch tell of their request."""

    def __init__(self, request: WatchRequest) -> None:
        self._request = request

    @property
    def begun(self) -> dict[str, Any]:
        """The server's latest answer to the watch request, empty before the first."""
        return self._request.begun

    @property
    def subscription_id(self) -> str | None:
        """The server's name for the subscription, a new one after each reconnect."""
        return self._request.subscription_id

    @property
    def current_state(self) -> str | None:
        """The watched instance's state when the watch last began; None for a watch of all."""
        return self._request.current_state

    @property
    def next_offset(self) -> int | None:
        """The `from_offset` with which a new watch goes on behind this one."""
        return self._request.next_offset
