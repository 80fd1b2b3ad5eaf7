"""verify, repair, dump, stats, restore: a data directory that no server has open.

They need the distribution rstmdb-storage, which `pip install rstmdb-cli[offline]` brings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from rstmdb_cli.exits import SERVER
from rstmdb_cli.output import escaped, show
from rstmdb_cli.progress import progress
from rstmdb_cli.session import Session, pass_session

__all__ = ["dump", "repair", "restore", "stats", "verify"]

_DIRECTORY = click.Path(exists=True, file_okay=False)


@contextmanager
def _tools() -> Iterator[Any]:
    """The offline tools of rstmdb-storage; what they refuse becomes a message."""
    try:
        from rstmdb_storage import StorageError, offline
    except ImportError as error:
        raise click.UsageError(
            "this command needs rstmdb-storage: pip install 'rstmdb-cli[offline]'"
        ) from error
    try:
        yield offline
    except (StorageError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _plain(value: Any) -> Any:
    """A report as JSON values."""
    import msgspec  # only where a command runs: help must not wait for it

    return msgspec.to_builtins(value)


@click.command()
@click.argument("directory", type=_DIRECTORY)
@pass_session
def verify(session: Session, directory: str) -> None:
    """Check a directory; 1 if it would not open.

    Reads every record and snapshot and changes nothing.
    """
    with _tools() as offline, progress("verifying") as advance:
        report = offline.verify_database(directory, progress=advance)
    show(_plain(report), session.output)
    if not report.opens:
        raise click.exceptions.Exit(SERVER)


@click.command()
@click.argument("directory", type=_DIRECTORY)
@click.option("--skip", is_flag=True, help="Go on past the damage instead of cutting there.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def repair(session: Session, directory: str, skip: bool, yes: bool) -> None:
    """Cut damage off, or go past it; keeps it aside.

    What is removed stays in files beside the log. Look with verify first.
    """
    how = "skip" if skip else "cut"
    if not yes:
        question = "Go past what is damaged" if skip else "Cut the log at the first damage"
        click.confirm(f"{question} in {directory}?", abort=True, err=True)
    with _tools() as offline, progress("repairing") as advance:
        report = offline.repair_database(directory, how, progress=advance)
    show(_plain(report), session.output)


@click.command()
@click.argument("directory", type=_DIRECTORY)
@click.option("--skip-damage", is_flag=True, help="Go on past what can't be read.")
def dump(directory: str, skip_damage: bool) -> None:
    """Print snapshot and log as JSON lines."""
    with _tools() as offline, progress("dumping", printing=True) as advance:
        for item in offline.dump_database(directory, skip_damage=skip_damage, progress=advance):
            click.echo(escaped(json.dumps(_plain(item), ensure_ascii=False)))


@click.command()
@click.argument("directory", type=_DIRECTORY)
@pass_session
def stats(session: Session, directory: str) -> None:
    """Show what a directory holds."""
    with _tools() as offline:
        found = offline.database_stats(directory)
    show(_plain(found), session.output)


@click.command()
@click.argument("source", type=_DIRECTORY)
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--to-offset", type=click.IntRange(min=0), help="Not beyond this log offset.")
@click.option(
    "--renumber", is_flag=True, help="Begin offsets anew; ones kept from before are void."
)
@pass_session
def restore(
    session: Session, source: str, target: str, to_offset: int | None, renumber: bool
) -> None:
    """Restore a backup into an empty directory.

    To its newest state, or to the offset given; a batch that the offset cuts is left out.
    Stop the server first if SOURCE is its data directory, and start one on TARGET afterwards.
    """
    with _tools() as offline, progress("restoring") as advance:
        result = offline.restore_backup(
            source, target, to_offset=to_offset, renumber=renumber, progress=advance
        )
    show(_plain(result), session.output)
