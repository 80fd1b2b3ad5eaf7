"""Every operation's handler, grouped by subject as in docs/reference/wire-protocol.

A plain command maps params to (result, offset to wait for). A special one gets the session
and the whole request, because it changes the session or takes a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import REQUEST_TYPES, Request

from . import batch, instances, log, machines, session, watches

if TYPE_CHECKING:
    from ..hub import Hub
    from ..session import Session

__all__ = ["closed_table", "open_table", "special_table"]

Command = Callable[[Any], tuple[Any, int]]
Table = dict[type, tuple[Command, bool]]
Special = Callable[["Session", Any], None]


def open_table(hub: Hub) -> Table:
    """Plain commands of an authenticated session: (command, whether it writes)."""
    commands: dict[str, tuple[Command, bool]] = {
        **session.plain(hub),
        **machines.plain(hub.store),
        **instances.plain(hub.store),
        **log.plain(hub),
    }
    return {REQUEST_TYPES[name]: command for name, command in commands.items()}


def closed_table(hub: Hub) -> Table:
    """Plain commands of a session that must authenticate first."""
    commands = session.plain(hub)
    return {REQUEST_TYPES["PING"]: commands["PING"]}


def special_table() -> dict[type[Request], Special]:
    """Commands that see their session."""
    commands: dict[str, Special] = {
        **session.special(),
        **batch.special(),
        **log.special(),
        **watches.special(),
    }
    return {REQUEST_TYPES[name]: command for name, command in commands.items()}
