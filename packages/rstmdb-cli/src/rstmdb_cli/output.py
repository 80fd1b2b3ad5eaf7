"""How results are shown: json is exactly the protocol's result object, text is for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["FORMATS", "show", "show_rows"]

FORMATS = ("table", "json", "ndjson", "yaml")


def show(result: dict[str, Any], output: str) -> None:
    """Show one object: a line a field, or in the format asked for."""
    if output != "table":
        click.echo(_encoded(result, output))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")


def show_rows(
    result: dict[str, Any], rows: str, output: str, *, columns: Sequence[str] = ()
) -> None:
    """Show a list inside a result: aligned columns, one JSON object a line, or the whole."""
    items: list[dict[str, Any]] = result[rows]
    if output == "ndjson":
        for item in items:
            click.echo(_encoded(item, output))
        return
    if output != "table":
        click.echo(_encoded(result, output))
        return
    names = list(columns) or list(dict.fromkeys(name for item in items for name in item))
    lines = [[name.upper() for name in names]]
    lines += [[_cell(item.get(name)) for name in names] for item in items]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    rest = {name: value for name, value in result.items() if name != rows}
    if rest:
        click.echo(", ".join(f"{name}: {_cell(value)}" for name, value in rest.items()))


def _cell(value: Any) -> str:
    """A value on one line; control characters of clients can't reach the terminal."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value if value.isprintable() else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def _encoded(value: Any, output: str) -> str:
    if output == "yaml":
        import yaml  # only this format needs it

        text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        return text.rstrip("\n")
    return json.dumps(value, indent=None if output == "ndjson" else 2, ensure_ascii=False)
