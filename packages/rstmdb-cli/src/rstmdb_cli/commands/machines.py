"""put-machine, get-machine, list-machines."""

from __future__ import annotations

from typing import Any

import click

from rstmdb_cli import completing
from rstmdb_cli.output import show, show_rows
from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import VERSION, json_object

from .pictures import DIAGRAM, SVG, draw

__all__ = ["get_machine", "list_machines", "put_machine"]


@click.command("put-machine")
@click.option(
    "-n", "--name", required=True, shell_complete=completing.machines, help="Name of the machine."
)
@click.option("-v", "--version", type=VERSION, required=True, help="Version, from 1.")
@click.argument("definition", type=json_object)
@pass_session
def put_machine(session: Session, name: str, version: int, definition: dict[str, Any]) -> None:
    """Register a machine.

    DEFINITION is JSON, @file, or - for standard input: an object with "states", "initial" and
    "transitions", each of which has "from" (a state or a list), "event", "to" and perhaps "guard".
    A version is for ever: what is different gets the next number.
    """
    result = session.call("PUT_MACHINE", machine=name, version=version, definition=definition)
    show(result, session.output)


@click.command("get-machine")
@click.argument("machine", required=False, shell_complete=completing.machines)
@click.argument(
    "machine_version", metavar="[VERSION]", type=VERSION, required=False,
    shell_complete=completing.versions,
)  # fmt: skip
@click.option(
    "-n", "--name", shell_complete=completing.machines,
    help="Name of the machine, if not given as an argument.",
)  # fmt: skip
@click.option(
    "-v", "--version", type=VERSION, shell_complete=completing.versions,
    help="Version; the newest when absent.",
)  # fmt: skip
@DIAGRAM
@SVG
@pass_session
def get_machine(
    session: Session,
    machine: str | None,
    machine_version: int | None,
    name: str | None,
    version: int | None,
    diagram: bool,
    svg: str | None,
) -> None:
    """Show the definition of MACHINE."""
    if (machine and name) or (machine_version and version):
        raise click.UsageError("name or version is given twice, as argument and as option")
    wanted = machine or name
    if not wanted:
        raise click.UsageError("name the machine: rstmdb-cli get-machine NAME")
    result = session.call("GET_MACHINE", machine=wanted, version=machine_version or version)
    if diagram or svg:
        title = f"{result['machine']} version {result['version']}"
        draw(result["definition"], title, diagram=diagram, svg=svg)
        return
    show(result, session.output)


@click.command("list-machines")
@click.option("--limit", type=click.IntRange(min=0), help="Show at most so many.")
@click.option("--offset", type=click.IntRange(min=0), help="Leave out so many at the beginning.")
@pass_session
def list_machines(session: Session, limit: int | None, offset: int | None) -> None:
    """List machines and their versions."""
    result = session.call("LIST_MACHINES", limit=limit, offset=offset)
    show_rows(result, "items", session.output, ("machine", "versions"))
