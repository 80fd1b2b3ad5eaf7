"""wal-read, wal-stats, snapshot-instance, compact, backup."""

from __future__ import annotations

import click

from rstmdb_cli import completing
from rstmdb_cli.output import show, show_rows
from rstmdb_cli.session import Session, pass_session

__all__ = ["backup", "compact", "snapshot_instance", "wal_read", "wal_stats"]


@click.command("wal-read")
@click.option(
    "-f", "--from", "--from-offset", "from_offset", type=click.IntRange(min=0), default=0,
    help="Begin at this offset; 0 is the oldest kept.",
)  # fmt: skip
@click.option("-l", "--limit", type=click.IntRange(min=0), help="100 unless given, at most 1000.")
@pass_session
def wal_read(session: Session, from_offset: int, limit: int | None) -> None:
    """Show records of the log."""
    result = session.call("WAL_READ", from_offset=from_offset, limit=limit)
    show_rows(result, "records", session.output, ("sequence", "offset", "entry"))


@click.command("wal-stats")
@pass_session
def wal_stats(session: Session) -> None:
    """Show size and position of the log."""
    show(session.call("WAL_STATS"), session.output)


@click.command("snapshot-instance")
@click.argument("instance_id", metavar="ID", shell_complete=completing.instances)
@pass_session
def snapshot_instance(session: Session, instance_id: str) -> None:
    """Write the instance ID out as a snapshot."""
    show(session.call("SNAPSHOT_INSTANCE", instance_id=instance_id), session.output)


@click.command()
@click.option("-f", "--force", is_flag=True, help="Snapshot even if nothing was written since.")
@pass_session
def compact(session: Session, force: bool) -> None:
    """Snapshot, and delete older log segments."""
    show(session.call("COMPACT", force_snapshot=force), session.output)


@click.command()
@click.argument("name", required=False)
@pass_session
def backup(session: Session, name: str | None) -> None:
    """Make a verified copy on the server.

    It lies in the server's backup directory, by the NAME given or the time.
    """
    show(session.call("BACKUP", name=name), session.output)
