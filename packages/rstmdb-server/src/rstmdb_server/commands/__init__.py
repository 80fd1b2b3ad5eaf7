"""Every operation's handler, grouped by subject as in docs/reference/wire-protocol.

A plain command maps params to (result, offset to wait for). A special one gets the session
and the whole request, because it changes the session or takes a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import REQUEST_TYPES

from . import batch, instances, log, machines, session, watches

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session

__all__ = ["Command", "Plain", "Special", "closed_tables", "open_tables", "plain_commands"]

Command = Callable[[Any], tuple[Any, int]]
Plain = dict[type, tuple[Command, bool, str]]
"""Commands that see only params, by request type: command, whether it writes, its name."""
Special = dict[type, Callable[["Session", Any], None]]
"""Commands that see their session, by request type."""

BEFORE_AUTH = ("HELLO", "AUTH", "PING", "BYE")


def plain_commands(hub: Hub) -> dict[str, tuple[Command, bool]]:
    """What can be done with params alone, by operation: the command, and whether it writes."""
    return {
        **session.plain(hub),
        **machines.plain(hub.store),
        **instances.plain(hub.store),
        **log.plain(hub),
    }


def open_tables(hub: Hub) -> tuple[Plain, Special]:
    """The commands of a session that may do everything."""
    special = {
        **session.special(),
        **machines.special(),
        **instances.special(),
        **batch.special(),
        **log.special(),
        **watches.special(),
    }
    return (
        {
            REQUEST_TYPES[name]: (*command, name)
            for name, command in hub.commands.items()
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
