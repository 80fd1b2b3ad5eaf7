"""WATCH_INSTANCE, WATCH_ALL, UNWATCH."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import (
    ErrorCode,
    Request,
    UnwatchResult,
    WatchAllResult,
    WatchInstanceResult,
)
from rstmdb_server.errors import RequestRefused
from rstmdb_server.subscriptions import EventFilter
from rstmdb_storage import OffsetGone

if TYPE_CHECKING:
    from rstmdb_server.session import Session

__all__ = ["special"]


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that change their session."""
    return {"WATCH_INSTANCE": _watch_instance, "WATCH_ALL": _watch_all, "UNWATCH": _unwatch}


def _watch_instance(session: Session, request: Request) -> None:
    params = request.params
    store = session.hub.store
    instance = store.state.get_instance(params.instance_id)
    position = _position(session, params.from_offset)
    if position is None:
        # What is appended and not released may be undone, and its offsets given out again.
        position = max(store.log.released, instance.last_wal_offset)
    subscription = session.hub.subscriptions.add(
        session,
        # An earlier instance of the same id is another instance.
        max(position, instance.created_offset - 1),
        instance_id=instance.id,
        include_ctx=params.include_ctx is not False,
    )
    result = WatchInstanceResult(
        subscription.id, instance.id, instance.state, instance.last_wal_offset
    )
    session.answer(request, result, instance.last_wal_offset, starts=subscription)


def _watch_all(session: Session, request: Request) -> None:
    params = request.params
    head = session.hub.store.log.head
    from_offset = params.from_offset
    # For WATCH_ALL 0 means from the oldest kept, for WATCH_INSTANCE it counts as absent.
    position = _position(session, 1 if from_offset == 0 else from_offset)
    subscription = session.hub.subscriptions.add(
        session,
        head if position is None else position,
        event_filter=EventFilter(
            params.machines, params.from_states, params.to_states, params.events
        )
        or None,
        include_ctx=params.include_ctx is not False,
    )
    result = WatchAllResult(subscription.id, head)
    session.answer(request, result, head, starts=subscription)


def _position(session: Session, from_offset: int | None) -> int | None:
    """The offset behind which events are wanted; None means the head.

    Raises OffsetGone for one below the oldest kept, RequestRefused over the limit.
    """
    limit = session.hub.config.limits.max_subscriptions
    if len(session.subscriptions) >= limit:
        raise RequestRefused(
            ErrorCode.RATE_LIMITED,
            f"this connection has {limit} subscriptions, the most it may have; UNWATCH one first",
            {"max_subscriptions": limit},
        )
    if not from_offset:
        return None
    earliest = session.hub.store.earliest_offset
    if from_offset == 1:
        return max(earliest - 1, 0)
    if from_offset < earliest:
        raise OffsetGone(from_offset, earliest)
    return from_offset - 1


def _unwatch(session: Session, request: Request) -> None:
    subscription = session.subscriptions.get(request.params.subscription_id)
    if subscription is not None:
        session.hub.subscriptions.drop(subscription)
    result = UnwatchResult(request.params.subscription_id, subscription is not None)
    session.answer(request, result)
