"""Values of options: JSON as an argument, from a file or from standard input; lists; versions."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["VERSION", "json_object", "names", "parse_json"]

VERSION = click.IntRange(1, 2**32 - 1)
"""A machine's version."""


def parse_json(text: str) -> Any:
    """Read JSON as its standard has it, without NaN and numbers beyond a double.

    Raises ValueError; its message shows where the text ends to make sense.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        message = f"{error.msg} at line {error.lineno}, column {error.colno}"
        line = text.split("\n")[error.lineno - 1]
        if line.strip():
            message += f"\n  {line}\n  {' ' * (error.colno - 1)}^"
        raise ValueError(message) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"JSON has no {name}")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text} is too large")
    return number


def json_object(value: str) -> dict[str, Any]:
    """A JSON object: as it is, `@file`, or `-` for standard input. Raises BadParameter."""
    text = _read(value)
    try:
        parsed = parse_json(text)
    except ValueError as error:
        bare = text.lstrip().startswith("{") and '"' not in text  # a shell has taken the quotes
        hint = """\nIn a shell JSON goes into single quotes: '{"a": 1}'""" if bare else ""
        raise click.BadParameter(f"not valid JSON: {error}{hint}") from error
    if not isinstance(parsed, dict):
        raise click.BadParameter(f"a JSON object is needed, not {text.strip()[:40]}")
    return parsed


def _read(value: str) -> str:
    if value != "-" and not value.startswith("@"):
        return value
    source = "standard input" if value == "-" else value[1:]
    try:
        return sys.stdin.read() if value == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{source} can't be read: {error}") from error


def names(value: str) -> list[str]:
    """Names separated by commas; blanks around them do not count. Raises BadParameter."""
    found = [name.strip() for name in value.split(",") if name.strip()]
    if not found:
        raise click.BadParameter("it names nothing")
    return found
