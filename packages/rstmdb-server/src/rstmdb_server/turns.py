"""Turns for connections that ask for more than one turn's worth: one turn a time, for all of them.

Whoever asks for little is answered as it arrives, and never waits here. Between two turns the
event loop makes a whole pass: what has arrived meanwhile is read and committed, and its answers
are written, before a connection that is never done goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Turns"]


class Turns:
    """Sessions that have more to do, in the order in which they asked to go on."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], Any]) -> None:
        self._call_soon = call_soon
        self._waiting: dict[Session, None] = {}
        self._scheduled = False

    def ask(self, session: Session) -> None:
        """Let a session go on once those that asked before it have had their turn."""
        self._waiting[session] = None
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._stand_back)

    def _stand_back(self) -> None:
        # Asyncio runs what it finds ready as one batch, and writes when that is through: to be
        # in the batch after next leaves the one between to commits and their answers.
        self._call_soon(self._give)

    def _give(self) -> None:
        self._scheduled = False
        session = next(iter(self._waiting))
        del self._waiting[session]
        if self._waiting:
            self._scheduled = True
            self._call_soon(self._stand_back)
        session.take_turn()
