"""ping, info, hash-token, flush-all."""

from __future__ import annotations

import click

from rstmdb_cli.exits import INTERRUPTED
from rstmdb_cli.output import show
from rstmdb_cli.session import Session, pass_session

__all__ = ["flush_all", "hash_token", "info", "ping"]


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


class _TakesDashes(click.Command):
    """A command whose one argument may begin with a dash, as one in 64 random tokens does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = len(args) == 1 and args[0] not in (*ctx.help_option_names, "--")
        return super().parse_args(ctx, ["--", *args] if alone else args)


@click.command("hash-token", cls=_TakesDashes)
@click.argument("token")
def hash_token(token: str) -> None:
    """Print the hash of a token.

    It is what auth.token_hashes and secrets files hold.
    """
    import hashlib

    click.echo(hashlib.sha256(token.encode()).hexdigest())


@click.command("flush-all")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def flush_all(session: Session, yes: bool) -> None:
    """Remove all machines and instances."""
    if not yes:
        try:
            click.confirm(f"Remove everything from {session.address()}?", abort=True, err=True)
        except click.Abort:
            click.echo("rstmdb-cli: nothing was removed; --yes does not ask", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
    show(session.call("FLUSH_ALL"), session.output)
