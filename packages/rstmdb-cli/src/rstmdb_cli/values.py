"""JSON from the command line: as an argument, from a file, or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["JSON_OBJECT", "CommaList"]


class JsonObject(click.ParamType):
    """A JSON object: as it is, `@file`, or `-` for standard input."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Read and check it; the message shows where the JSON ends to make sense."""
        if isinstance(value, dict):
            return value
        text = self._read(value, param, ctx)
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError as error:
            line = text.splitlines()[error.lineno - 1] if text.strip() else ""
            self.fail(
                f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
                + (f"\n  {line}\n  {' ' * (error.colno - 1)}^" if line else ""),
                param,
                ctx,
            )
        if not isinstance(parsed, dict):
            self.fail(f"a JSON object is needed, not {text.strip()[:40]}", param, ctx)
        return parsed

    def _read(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            if value == "-":
                return sys.stdin.read()
            if value.startswith("@"):
                return Path(value[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{value[1:]} can't be read: {error}", param, ctx)
        return value


JSON_OBJECT = JsonObject()


class CommaList(click.ParamType):
    """Names separated by commas."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Split; blanks around names do not count."""
        if isinstance(value, list):
            return value
        return [name.strip() for name in value.split(",") if name.strip()]
