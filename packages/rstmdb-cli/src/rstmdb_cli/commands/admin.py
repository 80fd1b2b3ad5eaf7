"""ping, info, hash-token, flush-all."""

from __future__ import annotations

import hashlib

import click

from rstmdb_cli.output import show
from rstmdb_cli.session import Session, pass_session

__all__ = ["COMMANDS"]


@click.command()
@pass_session
def ping(session: Session) -> None:
    """Ask the server whether it is alive."""
    show(session.call("PING"), session.output)


@click.command()
@pass_session
def info(session: Session) -> None:
    """Show facts about the server."""
    show(session.call("INFO"), session.output)


@click.command("hash-token")
@click.argument("token")
def hash_token(token: str) -> None:
    """Print the hash of TOKEN, as auth.token_hashes and secrets files hold it."""
    click.echo(hashlib.sha256(token.encode()).hexdigest())


@click.command("flush-all")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def flush_all(session: Session, yes: bool) -> None:
    """Empty the whole database: machines, instances, everything."""
    if not yes:
        click.confirm(f"Remove everything from {session.server}?", abort=True)
    show(session.call("FLUSH_ALL"), session.output)


COMMANDS = (ping, info, hash_token, flush_all)
