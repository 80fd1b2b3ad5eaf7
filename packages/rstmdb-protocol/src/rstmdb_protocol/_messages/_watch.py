"""Subscriptions: WATCH_INSTANCE, WATCH_ALL, UNWATCH, and the messages that they stream."""

from __future__ import annotations

from types import NoneType
from typing import Any

from msgspec import UNSET, UnsetType, field

from ._types import JsonObject, Message, Offset

__all__ = [
    "EndMessage",
    "EventMessage",
    "UnwatchParams",
    "UnwatchResult",
    "WatchAllParams",
    "WatchAllResult",
    "WatchInstanceParams",
    "WatchInstanceResult",
]


class WatchInstanceParams(Message, frozen=True):
    """Watch one instance; `from_offset` is inclusive, 0 counts as absent."""

    instance_id: str
    include_ctx: bool | None = None
    from_offset: Offset | None = None


class WatchInstanceResult(Message, frozen=True):
    """The subscription, and the instance as it is now."""

    subscription_id: str
    instance_id: str
    current_state: str
    current_wal_offset: int


class WatchAllParams(Message, frozen=True):
    """Watch all instances through filters: AND between kinds, OR within one."""

    machines: list[str] | None = None
    from_states: list[str] | None = None
    to_states: list[str] | None = None
    events: list[str] | None = None
    include_ctx: bool | None = None
    from_offset: Offset | None = None


class WatchAllResult(Message, frozen=True):
    """The subscription, and the head of the log: later events are streamed."""

    subscription_id: str
    wal_offset: int


class UnwatchParams(Message, frozen=True):
    """The subscription to end."""

    subscription_id: str


class UnwatchResult(Message, frozen=True):
    """`removed` is false when the session has no subscription of that id."""

    subscription_id: str
    removed: bool


class EventMessage(Message, frozen=True, tag_field="type", tag="event"):
    """One transition; `ctx` is absent when the watcher asked for none."""

    subscription_id: str
    instance_id: str
    machine: str
    version: int
    wal_offset: int
    from_state: str
    to_state: str
    event: str
    payload: Any = field(default_factory=NoneType)  # null when there was none, and not absent
    ctx: JsonObject | UnsetType | None = UNSET


class EndMessage(Message, frozen=True, tag_field="type", tag="end"):
    """A subscription that can't go on, and the offset to resume from where there is one."""

    subscription_id: str
    reason: str
    resume_from: int | None = None
