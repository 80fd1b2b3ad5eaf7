"""How results are shown: json is exactly the protocol's result object, text is for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["FORMATS", "encoded", "escaped", "show", "show_rows"]

FORMATS = ("table", "json", "ndjson", "yaml")


def show(result: dict[str, Any], output: str) -> None:
    """Show one object: a line a field, or in the format asked for."""
    if output != "table":
        click.echo(encoded(result, output))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {_cell(value)}")


def show_rows(result: dict[str, Any], rows: str, output: str, columns: Sequence[str]) -> None:
    """Show a list inside a result: aligned columns, one JSON object a line, or the whole."""
    items: list[dict[str, Any]] = result[rows]
    if output == "ndjson":
        for item in items:
            click.echo(encoded(item, output))
        return
    if output != "table":
        click.echo(encoded(result, output))
        return
    lines = [[name.upper() for name in columns]]
    lines += [[_cell(item.get(name)) for name in columns] for item in items]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    padded = ([c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines)
    heading, *texts = ("  ".join(cells).rstrip() for cells in padded)
    click.echo(click.style(heading, bold=True))
    for text in texts:
        click.echo(text)
    rest = {name: value for name, value in result.items() if name != rows}
    if rest:
        click.echo(", ".join(f"{name}: {_cell(value)}" for name, value in rest.items()))


def encoded(value: Any, output: str) -> str:
    """A value as json, ndjson (on one line) or yaml."""
    if output == "yaml":
        import yaml  # only this format needs it

        harmless = json.dumps(value, ensure_ascii=False).isprintable()  # else all is escaped
        text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=harmless)
        return text.rstrip("\n")
    indent = None if output == "ndjson" else 2
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    r"""Text whose control characters are \u escapes, so that none reaches a terminal; lines stay.

    Inside JSON, where they occur in strings only, the escapes mean the same characters.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _cell(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return "-"
    if isinstance(value, str) and value.isprintable():
        return value
    return encoded(value, "ndjson")
