"""watch-instance, watch-all: one JSON object a line, until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from rstmdb_cli import completing
from rstmdb_cli.output import encoded
from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import names

if TYPE_CHECKING:
    from rstmdb_client import SyncWatch

__all__ = ["until_ctrl_c", "watch_all", "watch_instance"]

_NO_CTX = click.option("--no-ctx", is_flag=True, help="Leave contexts out.")
_FROM = click.option(
    "--from-offset", type=click.IntRange(min=0), help="Begin with the events from there on."
)


def _print_events(begin: Callable[[], SyncWatch]) -> None:
    """Print events as they come."""
    from msgspec import to_builtins

    # A watch that is refused is closed as well.
    with until_ctrl_c("stopped watching"), closing(begin()) as watch, watch:
        offset = watch.begun.get("wal_offset", watch.begun.get("current_wal_offset"))
        click.echo(f"watching, the log is at {offset}; Ctrl-C ends", err=True)
        for event in watch:
            click.echo(encoded(to_builtins(event), "ndjson"))


@contextmanager
def until_ctrl_c(note: str) -> Iterator[None]:
    """Ctrl-C ends the block and is no failure; `note` is then said.

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
        if note:
            click.echo(note, err=True)
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)


@click.command("watch-instance")
@click.argument("instance_id", metavar="ID", shell_complete=completing.instances)
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
@click.option(
    "--machines", type=names, shell_complete=completing.listed(completing.machines),
    help="Only these machines, separated by commas.",
)  # fmt: skip
@click.option(
    "--from-states", type=names, shell_complete=completing.listed(completing.states),
    help="Only transitions out of these states.",
)  # fmt: skip
@click.option(
    "--to-states", type=names, shell_complete=completing.listed(completing.states),
    help="Only transitions into these states.",
)  # fmt: skip
@click.option(
    "--events", type=names, shell_complete=completing.listed(completing.events),
    help="Only these events.",
)  # fmt: skip
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
