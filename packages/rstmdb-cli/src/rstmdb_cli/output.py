"""How results are shown: json is exactly the protocol's result object, text is for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

__all__ = ["FORMATS", "cell", "encoded", "escaped", "show", "show_rows"]

FORMATS = ("table", "json", "ndjson", "yaml")

_TIMES = ("created_at", "updated_at")
"""Fields in milliseconds since 1970, which tables show as dates."""


def show(result: Mapping[str, Any], output: str) -> None:
    """Show one object: a line a field, or in the format asked for."""
    if output != "table":
        click.echo(encoded(result, output))
        return
    if sys.stdout.isatty():
        from .tables import print_fields

        print_fields(result)
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        click.echo(f"{name.ljust(width)}  {cell(name, value)}")


def show_rows(result: Mapping[str, Any], rows: str, output: str, columns: Sequence[str]) -> None:
    """Show a list inside a result: aligned columns, one JSON object a line, or the whole."""
    items: list[dict[str, Any]] = result[rows]
    if output == "ndjson":
        for item in items:
            click.echo(encoded(item, output))
        return
    if output != "table":
        click.echo(encoded(result, output))
        return
    rest = {name: value for name, value in result.items() if name != rows}
    if sys.stdout.isatty():
        from .tables import print_rows

        print_rows(items, columns, rest)
        return
    lines = [[name.upper() for name in columns]]
    lines += [[cell(name, item.get(name)) for name in columns] for item in items]
    widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text + " " * (w - _columns(text)) for text, w in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
    if rest:
        click.echo(", ".join(f"{name}: {cell(name, value)}" for name, value in rest.items()))


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


def cell(name: str, value: Any) -> str:
    """The value of a field on one line, for people."""
    if value is None:
        return "-"
    if name in _TIMES and isinstance(value, int):
        return _date(value)
    if isinstance(value, str) and value.isprintable():
        return value
    return encoded(value, "ndjson")


def _date(at_ms: int) -> str:
    """A time as RFC 3339 has it, in UTC, to the second."""
    from datetime import UTC, datetime, timedelta

    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    except OverflowError:
        return str(at_ms)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for East Asian letters."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
