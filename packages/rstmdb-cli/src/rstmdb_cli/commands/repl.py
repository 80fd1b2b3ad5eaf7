"""repl: commands one after the other, on one connection."""

from __future__ import annotations

import click

from rstmdb_cli.session import Session, pass_session

__all__ = ["repl"]


@click.command()
@click.pass_context
@pass_session
def repl(session: Session, context: click.Context) -> None:
    """Read commands, one a line.

    On a terminal with completion, checks of JSON, history (~/.rstmdb_history) and help; else it
    runs the lines of standard input and exits with the code of the last one that failed.
    """
    from rstmdb_cli.repl import run

    context.exit(run(session, context))
