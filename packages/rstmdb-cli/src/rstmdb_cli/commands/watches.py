"""watch-instance, watch-all: one JSON object a line, until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import CommaList

__all__ = ["COMMANDS"]

_NO_CTX = click.option("--no-ctx", is_flag=True, help="Leave contexts out.")
_FROM = click.option(
    "--from-offset", type=click.IntRange(min=0), help="Begin with the events from there on."
)


def _print(events: Iterator[Any]) -> None:
    """Print events as they come; Ctrl-C ends the watch and is no failure."""
    try:
        for event in events:
            click.echo(json.dumps(msgspec.to_builtins(event), ensure_ascii=False))
    except KeyboardInterrupt:
        click.echo("stopped watching", err=True)


@click.command("watch-instance")
@click.argument("instance_id", metavar="ID")
@_NO_CTX
@_FROM
@pass_session
def watch_instance(
    session: Session, instance_id: str, no_ctx: bool, from_offset: int | None
) -> None:
    """Watch the transitions of the instance ID."""
    with session.connected() as client:
        click.echo(f"watching {instance_id}; Ctrl-C ends", err=True)
        _print(client.watch_instance(instance_id, include_ctx=not no_ctx, from_offset=from_offset))


@click.command("watch-all")
@click.option("--machines", type=CommaList(), help="Only of these, separated by commas.")
@click.option("--from-states", type=CommaList())
@click.option("--to-states", type=CommaList())
@click.option("--events", type=CommaList())
@_NO_CTX
@_FROM
@pass_session
def watch_all(
    session: Session,
    machines: list[str] | None,
    from_states: list[str] | None,
    to_states: list[str] | None,
    events: list[str] | None,
    no_ctx: bool,
    from_offset: int | None,
) -> None:
    """Watch all transitions that pass the filters."""
    with session.connected() as client:
        click.echo("watching; Ctrl-C ends", err=True)
        _print(
            client.watch_all(
                machines=machines,
                from_states=from_states,
                to_states=to_states,
                events=events,
                include_ctx=not no_ctx,
                from_offset=from_offset,
            )
        )


COMMANDS = (watch_instance, watch_all)
