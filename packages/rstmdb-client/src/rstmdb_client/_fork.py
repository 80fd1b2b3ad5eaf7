"""A process that forks: the child must not speak on its parent's connections.

Two processes on one connection would read each other's answers. So in the child every client
and watch forgets its connection, and opens one of its own when it is used.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["forget_in_children"]


class Inherited(Protocol):
    """What holds a connection."""

    def _forget(self) -> None:
        """In a child: let go of the connection, without a word on it, and of held locks."""


_inherited: WeakSet[Inherited] = WeakSet()


def forget_in_children(one: Inherited) -> None:
    """See to it that `_forget` is called in each process that is forked from this one."""
    _inherited.add(one)


def _forget_all() -> None:
    for one in list(_inherited):
        one._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
