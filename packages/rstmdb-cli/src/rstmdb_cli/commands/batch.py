"""batch: many operations, one request."""

from __future__ import annotations

from typing import Any, TextIO

import click

from rstmdb_cli.exits import SERVER
from rstmdb_cli.output import show_rows
from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import parse_json

__all__ = ["batch"]


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--atomic", is_flag=True, help="All or nothing.")
@pass_session
def batch(session: Session, file: TextIO, atomic: bool) -> None:
    """Run many operations as one batch.

    FILE, or - for standard input, holds a JSON object a line:
    {"op": "APPLY_EVENT", "params": {...}}.

    Without --atomic each stands
    alone, and the exit code is 1 when one failed.
    """
    mode = "atomic" if atomic else "best_effort"
    result = session.call("BATCH", mode=mode, ops=_operations(file))
    show_rows(result, "results", session.output, ("status", "result", "error"))
    if any(item["status"] == "error" for item in result["results"]):
        raise click.exceptions.Exit(SERVER)


def _operations(file: TextIO) -> list[Any]:
    """The file's lines, those that are not empty. Raises BadParameter naming the line."""
    try:
        lines = file.read().split("\n")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"not UTF-8: {error}", param_hint="FILE") from error
    operations = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                operations.append(parse_json(line))
            except ValueError as error:
                raise click.BadParameter(
                    f"line {number} is not valid JSON: {error}", param_hint="FILE"
                ) from error
    return operations
