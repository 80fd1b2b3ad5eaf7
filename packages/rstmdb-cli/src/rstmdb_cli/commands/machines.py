"""put-machine, get-machine, list-machines."""

from __future__ import annotations

from typing import Any

import click

from rstmdb_cli.output import show, show_rows
from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import VERSION, json_object

__all__ = ["get_machine", "list_machines", "put_machine"]


@click.command("put-machine")
@click.option("-n", "--name", required=True, help="Name of the machine.")
@click.option("-v", "--version", type=VERSION, required=True, help="Version, from 1.")
@click.argument("definition", type=json_object)
@pass_session
def put_machine(session: Session, name: str, version: int, definition: dict[str, Any]) -> None:
    """Register a machine.

    DEFINITION is JSON, @file, or - for standard input.
    """
    result = session.call("PUT_MACHINE", machine=name, version=version, definition=definition)
    show(result, session.output)


@click.command("get-machine")
@click.argument("machine", required=False)
@click.argument("machine_version", metavar="[VERSION]", type=VERSION, required=False)
@click.option("-n", "--name", help="Name of the machine, if not given as an argument.")
@click.option("-v", "--version", type=VERSION, help="Version; the newest when absent.")
@click.option("--diagram", is_flag=True, help="Draw it, as text for Mermaid.")
@pass_session
def get_machine(
    session: Session,
    machine: str | None,
    machine_version: int | None,
    name: str | None,
    version: int | None,
    diagram: bool,
) -> None:
    """Show the definition of MACHINE."""
    if (machine and name) or (machine_version and version):
        raise click.UsageError("name or version is given twice, as argument and as option")
    wanted = machine or name
    if not wanted:
        raise click.UsageError("name the machine: rstmdb-cli get-machine NAME")
    result = session.call("GET_MACHINE", machine=wanted, version=machine_version or version)
    if diagram:
        from rstmdb_cli.diagram import mermaid

        click.echo(mermaid(result["definition"]))
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
