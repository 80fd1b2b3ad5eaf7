"""WATCH_INSTANCE, WATCH_ALL, UNWATCH."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import (
    ErrorCode,
    Request,
    UnwatchResult,
    WatchAllParams,
    WatchAllResult,
    WatchInstanceResult,
)
from rstmdb_server.errors import RequestRefused
from rstmdb_server.subscriptions import EventFilter
from rstmdb_storage import OffsetGone

if TYPE_CHECKING:
    from rstmdb_server.session import Session
    from rstmdb_storage import Store

__all__ = ["special"]

MAX_FILTER_NAMES = 1000
"""In a WATCH_ALL's filters together: a subscription keeps them for as long as it lives."""
FROM_OLDEST = 1
"""For WATCH_INSTANCE an offset of 0 counts as absent, so this is how to ask for all."""


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that change their session."""
    return {"WATCH_INSTANCE": _watch_instance, "WATCH_ALL": _watch_all, "UNWATCH": _unwatch}


def _watch_instance(session: Session, request: Request) -> None:
    params = request.params
    store = session.hub.store
    instance = store.state.get_instance(params.instance_id)
    _check_room(session)
    if not params.from_offset:
        # What is appended and not released may be undone, and its offsets given out again.
        position = max(store.log.released, instance.last_wal_offset)
    elif params.from_offset == FROM_OLDEST:
        position = _before_oldest(store)
    else:
        position = _before(store, params.from_offset)
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
    store = session.hub.store
    _check_room(session)
    _check_filters(params)
    head = store.log.head
    if params.from_offset is None:
        position = head
    elif params.from_offset == 0:
        position = _before_oldest(store)
    else:
        position = _before(store, params.from_offset)
    subscription = session.hub.subscriptions.add(
        session,
        position,
        event_filter=EventFilter(
            params.machines, params.from_states, params.to_states, params.events
        )
        or None,
        include_ctx=params.include_ctx is not False,
    )
    result = WatchAllResult(subscription.id, head)
    session.answer(request, result, head, starts=subscription)


def _check_room(session: Session) -> None:
    """Raise RequestRefused where the session has all the subscriptions it may have."""
    limit = session.hub.config.limits.max_subscriptions
    if len(session.subscriptions) >= limit:
        raise RequestRefused(
            ErrorCode.RATE_LIMITED,
            f"this connection has {limit} subscriptions, the most it may have; UNWATCH one first",
            {"max_subscriptions": limit},
        )


def _check_filters(params: WatchAllParams) -> None:
    """Raise RequestRefused for more names than a subscription may have."""
    filters = (params.machines, params.from_states, params.to_states, params.events)
    count = sum(len(names) for names in filters if names is not None)
    if count > MAX_FILTER_NAMES:
        raise RequestRefused(
            ErrorCode.BAD_REQUEST,
            f"the filters name {count} machines, states and events; at most {MAX_FILTER_NAMES}"
            " are allowed",
            {"limit": MAX_FILTER_NAMES},
        )


def _before_oldest(store: Store) -> int:
    """The position from which all that is kept is delivered."""
    return max(store.earliest_offset - 1, 0)


def _before(store: Store, from_offset: int) -> int:
    """The position from which events at `from_offset` and later are delivered.

    Raises OffsetGone where some of those are no longer kept.
    """
    if not store.reaches_back_to(from_offset):
        raise OffsetGone(from_offset, store.earliest_offset)
    return from_offset - 1


def _unwatch(session: Session, request: Request) -> None:
    subscription = session.subscriptions.get(request.params.subscription_id)
    if subscription is not None:
        session.hub.subscriptions.drop(subscription)
    result = UnwatchResult(request.params.subscription_id, subscription is not None)
    session.answer(request, result)
