"""What is drawn of a machine, and how large it is: states, and one edge from a state to another."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

from rstmdb_cli.output import escaped

__all__ = ["LINE", "Edge", "Graph", "Label", "State", "text_width"]

LINE = 16.0
"""Height of a line of text in pixels."""

_GUARD_COLUMNS = 34
_BOX_HEIGHT = 36.0
_LEAST_WIDTH = 84.0


def text_width(text: str, size: float) -> float:
    """About how wide a text is in pixels, in a font of `size` whose letters differ in width."""
    ems = {"W": 1.0, "F": 1.0}
    narrow = "iljtfrI.,:;|![]()' "
    return size * sum(
        ems.get(east_asian_width(c), 0.34 if c in narrow else 0.68 if c.isupper() else 0.56)
        for c in text
    )


@dataclass(frozen=True, slots=True)
class Label:
    """One transition beside its edge: the event, and its guard in lines below."""

    event: str
    guard: tuple[str, ...]

    @property
    def width(self) -> float:
        """Pixels."""
        return max([text_width(self.event, 12.5)] + [text_width(line, 11) for line in self.guard])

    @property
    def height(self) -> float:
        """Pixels."""
        return LINE * (1 + len(self.guard))


@dataclass(frozen=True, slots=True)
class State:
    """A box; `loops` are the transitions that lead from it to itself."""

    name: str
    text: str
    loops: tuple[Label, ...] = ()
    final: bool = False

    @property
    def width(self) -> float:
        """Of the box, in pixels."""
        return max(_LEAST_WIDTH, text_width(self.text, 14) + 32)

    @property
    def height(self) -> float:
        """Of the box and of what is written beside it, in pixels."""
        return max(_BOX_HEIGHT, sum(label.height for label in self.loops))

    @property
    def right(self) -> float:
        """From the middle of the box to the end of what is written beside it, in pixels."""
        beside = 38 + max(label.width for label in self.loops) if self.loops else 0.0
        return self.width / 2 + beside


@dataclass(frozen=True, slots=True)
class Edge:
    """All transitions from one state to another one."""

    source: str
    target: str
    labels: tuple[Label, ...]

    @property
    def width(self) -> float:
        """Of the labels, in pixels."""
        return max(label.width for label in self.labels)

    @property
    def height(self) -> float:
        """Of the labels, in pixels."""
        return sum(label.height for label in self.labels)


@dataclass(frozen=True, slots=True)
class Graph:
    """A machine's states by name, and its edges."""

    states: dict[str, State]
    edges: tuple[Edge, ...]
    initial: str

    @classmethod
    def of(cls, definition: dict[str, Any]) -> Graph:
        """The graph of a definition in its normal form (`from` is a list)."""
        labels: dict[tuple[str, str], list[Label]] = {}
        for transition in definition["transitions"]:
            for source in transition["from"]:
                label = _label(transition["event"], transition.get("guard"))
                labels.setdefault((source, transition["to"]), []).append(label)
        left = {source for source, target in labels if source != target}
        states = {
            name: State(name, escaped(name), tuple(labels.get((name, name), ())), name not in left)
            for name in definition["states"]
        }
        edges = [Edge(*ends, tuple(found)) for ends, found in labels.items() if ends[0] != ends[1]]
        return cls(states, tuple(edges), definition["initial"])

    def after(self, state: str) -> Iterable[Edge]:
        """The edges that leave a state."""
        return (edge for edge in self.edges if edge.source == state)


def _label(event: str, guard: str | None) -> Label:
    lines = textwrap.wrap(f"[{escaped(guard)}]", _GUARD_COLUMNS) if guard else []
    return Label(escaped(event), tuple(lines))
