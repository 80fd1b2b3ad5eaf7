"""watch-instance, watch-all: one JSON object a line, until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from rstmdb_cli.output import encoded
from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import names

if TYPE_CHECKING:
    from rstmdb_client import SyncWatch

__all__ = ["watch_all", "watch_instance"]

_NO_CTX = click.option("--no-ctx", is_flag=True, help="Leave contexts out.")
_FROM = click.option(
    "--from-offset", type=click.IntRange(min=0), help="Begin with the events from there on."
)


def _print_events(begin: Callable[[], SyncWatch]) -> None:
    """Print events as they come."""
    from msgspec import to_builtins

    # A watch that is refused is closed as well.
    with _until_ctrl_c(), closing(begin()) as watch, watch:
        offset = watch.begun.get("wal_offset", watch.begun.get("current_wal_offset"))
        click.echo(f"watching, the log is at {offset}; Ctrl-C ends", err=True)
        for event in watch:
            click.echo(encoded(to_builtins(event), "ndjson"))


@contextmanager
def _until_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the block and is no failure.

    A second one, which may come at the same time (`timeout` sends two), is not heard: it would
    break off the end of the program.
    """
    before = signal.getsignal(signal.SIGINT)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    if before is not signal.SIG_IGN:  # as it is for a script's background jobs
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped watching", err=True)
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)


@click.command("watch-instance")
@click.argument("instance_id", metavar="ID")
@_NO_CTX
@_FROM
@pass_session
def watch_instance(
    session: Session, instance_id: str, no_ctx: bool, from_offset: int | None
) -> None:
    """Watch the transitions of one instance.

    Prints a JSON object a line, until Ctrl-C.
    """
    client = session.client()
    _print_events(
        lambda: client.watch_instance(instance_id, include_ctx=not no_ctx, from_offset=from_offset)
    )


@click.command("watch-all")
@click.option("--machines", type=names, help="Only these machines, separated by commas.")
@click.option("--from-states", type=names, help="Only transitions out of these states.")
@click.option("--to-states", type=names, help="Only transitions into these states.")
@click.option("--events", type=names, help="Only these events.")
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
    """Watch all transitions that pass filters.

    Prints a JSON object a line, until Ctrl-C.
    """
    client = session.client()
    _print_events(
        lambda: client.watch_all(
            machines=machines,
            from_states=from_states,
            to_states=to_states,
            events=events,
            include_ctx=not no_ctx,
            from_offset=from_offset,
        )
    )
