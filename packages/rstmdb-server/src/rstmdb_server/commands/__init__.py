"""Every operation's handler, grouped by subject as in docs/reference/wire-protocol.

A plain command maps params to (result, offset to wait for). A special one gets the session
and the whole request, because it changes the session or takes a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import BATCH_OPERATIONS, REQUEST_TYPES

from . import batch, instances, log, machines, session, watches

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session

__all__ = ["Command", "Plain", "Special", "batchable", "closed_tables", "open_tables"]

Command = Callable[[Any], tuple[Any, int]]
Plain = dict[type, tuple[Command, bool, str]]
"""Commands that see only params, by request type: command, whether it writes, its name."""
Special = dict[type, Callable[["Session", Any], None]]
"""Commands that see their session, by request type."""

BEFORE_AUTH = ("HELLO", "AUTH", "PING", "BYE")


def batchable(hub: Hub) -> dict[str, Command]:
    """The commands that may be part of a BATCH, by name."""
    plain = {**machines.plain(hub.store), **instances.plain(hub.store)}
    return {name: command for name, (command, _) in plain.items() if name in BATCH_OPERATIONS}


def open_tables(hub: Hub) -> tuple[Plain, Special]:
    """The commands of a session that may do everything."""
    plain: dict[str, tuple[Command, bool]] = {
        **session.plain(hub),
        **machines.plain(hub.store),
        **instances.plain(hub.store),
        **log.plain(hub),
    }
    special = {
        **session.special(),
        **instances.special(),
        **batch.special(),
        **log.special(),
        **watches.special(),
    }
    return (
        {
            REQUEST_TYPES[name]: (*command, name)
            for name, command in plain.items()
            if name not in special
        },
        {REQUEST_TYPES[name]: command for name, command in special.items()},
    )


def closed_tables(hub: Hub) -> tuple[Plain, Special]:
    """The commands of a session that must authenticate first."""
    allowed = {REQUEST_TYPES[name] for name in BEFORE_AUTH}
    plain, special = open_tables(hub)
    return (
        {kind: command for kind, command in plain.items() if kind in allowed},
        {kind: command for kind, command in special.items() if kind in allowed},
    )
