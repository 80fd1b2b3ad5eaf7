"""What waiting for a state comes to, without I/O, and the decisions of optimistic writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

import rstmdb_protocol as rcp

from ._errors import WaitTimeout

if TYPE_CHECKING:
    import random

__all__ = ["Decide", "Decision", "Reached", "Wait", "conflict_pauses", "event_of"]

Decision = str | tuple[str, dict[str, Any]] | None
"""An event, an event and its payload, or None for nothing to be done."""

Decide = Callable[[rcp.GetInstanceResult], Decision]
"""What to do with an instance as it is; called again where another writer was faster."""

_FIRST_SECS = 0.004
_MOST_SECS = 0.25


class Reached(Struct, frozen=True):
    """The awaited state, and the offset of the instance's record since which it holds.

    That offset is a good `expected_wal_offset` for an event that should find it unchanged.
    """

    instance_id: str
    state: str
    wal_offset: int


class Wait:
    """A wait for one of some states, and the state that was seen last.

    Raises ValueError for no states at all.
    """

    def __init__(self, instance_id: str, states: str | Collection[str]) -> None:
        self.instance_id = instance_id
        self.wanted = frozenset([states] if isinstance(states, str) else states)
        if not self.wanted:
            raise ValueError("states: at least one is needed")
        self._seen = "unknown"

    def _see(self, state: str, offset: int) -> Reached | None:
        self._seen = state
        return Reached(self.instance_id, state, offset) if state in self.wanted else None

    def look(self, begun: dict[str, Any]) -> Reached | None:
        """What the answer to WATCH_INSTANCE says: the state at which the events set in."""
        return self._see(begun["current_state"], begun["current_wal_offset"])

    def take(self, event: rcp.EventMessage) -> Reached | None:
        """What an event says."""
        return self._see(event.to_state, event.wal_offset)

    def check(self, machine: rcp.GetMachineResult) -> None:
        """Raise ValueError if the machine has none of the wanted states: it would never end."""
        known = machine.definition["states"]
        if self.wanted.isdisjoint(known):
            raise ValueError(
                f"{', '.join(sorted(self.wanted))}: no state of {machine.machine} version "
                f"{machine.version}, which has {', '.join(known)}"
            )

    def timed_out(self, timeout: float | None) -> WaitTimeout:
        """The exception for a wait that took too long."""
        return WaitTimeout(
            f"{self.instance_id} did not reach {' or '.join(sorted(self.wanted))} within "
            f"{timeout} s; its state is {self._seen}",
            self._seen,
        )


def event_of(decision: str | tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    """The event and its payload."""
    return (decision, None) if isinstance(decision, str) else decision


def conflict_pauses(rng: random.Random, attempts: int) -> Iterator[float]:
    """Pauses in seconds after each conflict but the last, drawn from 0 to 0.004, 0.008 ... 0.25.

    The whole range is drawn from, so that writers that met once do not meet again. Raises
    ValueError for less than one attempt.
    """
    if attempts < 1:
        raise ValueError(f"attempts is {attempts}: at least one is needed")
    return (
        rng.uniform(0, min(_FIRST_SECS * 2.0**number, _MOST_SECS)) for number in range(attempts - 1)
    )
