"""A registered machine: its definition and the table that events are looked up in."""

from __future__ import annotations

from typing import Final

import msgspec

from ._definition import Definition, GuardTable, checksum_of, read_definition
from ._guard import Guard

Candidate = tuple[str, Guard | None, str | None]
"""Target state, guard (None: always holds), the guard's text."""

_encode_json = msgspec.json.Encoder().encode
_NO_EVENTS: Final[dict[str, tuple[Candidate, ...]]] = {}


class Machine:
    """One version of a machine; never changed once made.

    `definition` is the normal form as JSON, `checksum` its SHA-256 in hex, `offset` that of the
    entry that registered it. `table` maps state to event to the candidates in definition order.
    """

    __slots__ = (
        "checksum",
        "definition",
        "initial",
        "name",
        "offset",
        "states",
        "table",
        "version",
    )

    def __init__(
        self, name: str, version: int, offset: int, definition: Definition, guards: GuardTable
    ) -> None:
        self.name = name
        self.version = version
        self.definition = _encode_json(definition)
        self.checksum = checksum_of(definition)
        self.offset = offset
        self.initial: str = definition["initial"]
        self.states: dict[str, str] = {state: state for state in definition["states"]}
        self.table = _table(definition, guards, self.states)

    def events_of(self, state: str) -> list[str]:
        """Return the events that the state has transitions for, sorted."""
        return sorted(self.table.get(state, _NO_EVENTS))


def load_machine(name: str, version: int, definition: object, offset: int) -> Machine:
    """Return the machine of a definition that history holds.

    Raises InvalidRequest when not even a lenient reading makes sense of it.
    """
    normal, guards = read_definition(definition, strict=False)
    return Machine(name, version, offset, normal, guards)


def _table(
    definition: Definition, guards: GuardTable, states: dict[str, str]
) -> dict[str, dict[str, tuple[Candidate, ...]]]:
    lists: dict[str, dict[str, list[Candidate]]] = {}
    for transition in definition["transitions"]:
        text = transition.get("guard")
        candidate = (states[transition["to"]], guards[text] if text is not None else None, text)
        for source in transition["from"]:
            events = lists.setdefault(states[source], {})
            events.setdefault(transition["event"], []).append(candidate)
    return {
        state: {event: tuple(candidates) for event, candidates in events.items()}
        for state, events in lists.items()
    }
