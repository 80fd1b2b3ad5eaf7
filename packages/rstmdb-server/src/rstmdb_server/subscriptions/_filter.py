"""What a WATCH_ALL wants to see."""

from __future__ import annotations

from collections.abc import Sequence

import rstmdb_core as core

__all__ = ["EventFilter"]


class EventFilter:
    """AND between kinds, OR within one; empty means all."""

    __slots__ = ("events", "from_states", "machines", "to_states")

    def __init__(
        self,
        machines: Sequence[str] | None = None,
        from_states: Sequence[str] | None = None,
        to_states: Sequence[str] | None = None,
        events: Sequence[str] | None = None,
    ) -> None:
        self.machines = frozenset(machines or ())
        self.from_states = frozenset(from_states or ())
        self.to_states = frozenset(to_states or ())
        self.events = frozenset(events or ())

    def __bool__(self) -> bool:
        """Whether anything is filtered out at all."""
        return bool(self.machines or self.from_states or self.to_states or self.events)

    def __call__(self, entry: core.ApplyEvent) -> bool:
        """Whether the entry passes."""
        return (
            (not self.machines or entry.machine in self.machines)
            and (not self.from_states or entry.from_state in self.from_states)
            and (not self.to_states or entry.to_state in self.to_states)
            and (not self.events or entry.event in self.events)
        )
