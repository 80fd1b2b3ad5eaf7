"""Tables in colour, for people at a terminal. Imports rich: only where something is shown there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from rich import box
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from .output import cell, encoded, escaped

__all__ = ["console", "print_fields", "print_rows", "state_style"]

_NUMBERS = {"version", "offset", "sequence", "last_wal_offset", "wal_offset", "line"}
_STATE_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_magenta")
_WIDE = 60
"""JSON of more characters goes over several lines."""


def console(*, stderr: bool = False) -> Console:
    """A console without the guesses that rich makes about texts of its own."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def state_style(state: str) -> str:
    """A colour that a state has wherever it is shown."""
    return _STATE_COLOURS[crc32(state.encode()) % len(_STATE_COLOURS)]


def print_rows(
    items: Sequence[Mapping[str, Any]], columns: Sequence[str], rest: Mapping[str, Any]
) -> None:
    """A table, and below it what else the result holds."""
    out = console()
    table = Table(box=box.ROUNDED, border_style="bright_black", header_style="bold")
    for name in columns:
        heading = name.replace("_", " ")
        table.add_column(heading, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for item in items:
        table.add_row(*(_cell(name, item.get(name)) for name in columns))
    out.print(table)
    if rest:
        shown = ", ".join(f"{name}: {cell(name, value)}" for name, value in rest.items())
        out.print(Text(f" {shown}", style="bright_black"))


def print_fields(result: Mapping[str, Any]) -> None:
    """A field a line; a machine's definition as a table of its transitions."""
    out = console()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    definition = result.get("definition")
    for name, value in result.items():
        if name != "definition":
            grid.add_row(name, _value(name, value))
    if isinstance(definition, dict) and "transitions" in definition:
        grid.add_row("states", _states(definition))
        out.print(grid)
        out.print(_transitions(definition["transitions"]))
        return
    out.print(grid)


def _states(definition: Mapping[str, Any]) -> Text:
    """All states; the first is marked, and those that nothing leaves."""
    left = {state for transition in definition["transitions"] for state in transition["from"]}
    text = Text()
    for number, state in enumerate(definition["states"]):
        text.append(", " if number else "")
        text.append(escaped(state), style=state_style(state))
        if state == definition["initial"]:
            text.append(" (initial)", style="bright_black")
        elif state not in left:
            text.append(" (final)", style="bright_black")
    return text


def _transitions(transitions: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.ROUNDED, border_style="bright_black", header_style="bold")
    for heading in ("from", "event", "to", "guard"):
        table.add_column(heading, overflow="fold")
    for transition in transitions:
        table.add_row(
            Text(", ").join(_cell("state", state) for state in transition["from"]),
            Text(escaped(transition["event"]), style="bold"),
            _cell("state", transition["to"]),
            Text(escaped(transition.get("guard") or "")),
        )
    return table


def _value(name: str, value: Any) -> Text:
    """A value for a line of its own: JSON in colours, and long JSON over several lines."""
    if isinstance(value, dict | list) and value:
        wide = len(json.dumps(value)) > _WIDE
        return JSONHighlighter()(Text(encoded(value, "json" if wide else "ndjson")))
    return _cell(name, value)


def _cell(name: str, value: Any) -> Text:
    """A cell in the colour of what it says."""
    text = Text(cell(name, value))
    if value is None:
        text.stylize("bright_black")
    elif name == "state" or name.endswith("_state"):
        text.stylize(state_style(str(value)))
    elif name in ("id", "instance_id", "machine", "name"):
        text.stylize("bold")
    elif name == "status":
        text.stylize("green" if value == "ok" else "bold red")
    elif isinstance(value, bool):
        text.stylize("green" if value else "red")
    return text
