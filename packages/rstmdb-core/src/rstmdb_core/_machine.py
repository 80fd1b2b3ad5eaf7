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


class Blueprint:
    """All of a machine that its definition alone decides; never changed once made.

    `normal` is the definition's normal form, `definition` the same as JSON, `checksum` its
    SHA-256 in hex. `table` maps state to event to the candidates in definition order.
    """

    __slots__ = ("checksum", "definition", "initial", "normal", "states", "table")

    def __init__(self, definition: object, *, strict: bool) -> None:
        """Read a definition; see read_definition for `strict` and for what is raised."""
        normal, guards = read_definition(definition, strict=strict)
        self.normal = normal
        self.definition = _encode_json(normal)
        self.checksum = checksum_of(normal)
        self.initial: str = normal["initial"]
        self.states: dict[str, str] = {state: state for state in normal["states"]}
        self.table = _table(normal, guards, self.states)


class Machine:
    """One version of a machine; never changed once made.

    `offset` is that of the entry that registered it; the rest is explained at Blueprint.
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

    def __init__(self, name: str, version: int, offset: int, blueprint: Blueprint) -> None:
        self.name = name
        self.version = version
        self.offset = offset
        self.definition = blueprint.definition
        self.checksum = blueprint.checksum
        self.initial = blueprint.initial
        self.states = blueprint.states
        self.table = blueprint.table

    def events_of(self, state: str) -> list[str]:
        """Return the events that the state has transitions for, sorted."""
        return sorted(self.table.get(state, _NO_EVENTS))


def load_machine(name: str, version: int, definition: object, offset: int) -> Machine:
    """Return the machine of a definition that history holds.

    Raises InvalidRequest when not even a lenient reading makes sense of it.
    """
    return Machine(name, version, offset, Blueprint(definition, strict=False))


def _table(
    definition: Definition, guards: GuardTable, states: dict[str, str]
) -> dict[str, dict[str, tuple[Candidate, ...]]]:
    """Thousands of transitions often have the same few candidates: those are kept once."""
    table: dict[str, dict[str, tuple[Candidate, ...]]] = {}
    several: dict[tuple[str, str], list[Candidate]] = {}
    alone: dict[tuple[str, str | None], tuple[Candidate]] = {}
    for transition in definition["transitions"]:
        to, text, event = transition["to"], transition.get("guard"), transition["event"]
        candidate = alone.get((to, text))
        if candidate is None:
            guard = None if text is None else guards[text]
            candidate = alone[to, text] = ((states[to], guard, text),)
        for source in transition["from"]:
            events = table.get(source)
            if events is None:
                events = table[states[source]] = {}
            first = events.get(event)
            if first is None:
                events[event] = candidate
            else:
                several.setdefault((source, event), [*first]).extend(candidate)
    for (source, event), candidates in several.items():
        table[source][event] = tuple(candidates)
    return table
