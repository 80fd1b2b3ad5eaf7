"""top: what happens on a server, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from rstmdb_cli.output import encoded
from rstmdb_cli.session import Session, pass_session

from .watches import until_ctrl_c

if TYPE_CHECKING:
    from rstmdb_cli.top.feed import Feed
    from rstmdb_client import SyncClient

__all__ = ["top"]

_STATES_EVERY_SECS = 2.0


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, metavar="SECONDS",
    help="How often it is drawn.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Leave after so many.")
@pass_session
def top(session: Session, interval: float, count: int | None) -> None:
    """Show events and rates, live.

    Events a second by machine, the latest transitions, instances by state, and the log, until q
    or Ctrl-C. Where standard output is no terminal, or with -o json, ndjson or yaml, it prints an
    object for each interval instead, with rates over the last ten seconds.
    """
    from rstmdb_cli.top.feed import Feed

    live = session.output == "table" and sys.stdout.isatty()
    with (
        until_ctrl_c("" if live else "stopped"),
        session.connected() as client,
        Feed(client.watch_all(include_ctx=False)) as feed,
    ):
        screen = _Screen(client, feed)
        if live:
            screen.show(interval, count)
        else:
            output = "ndjson" if session.output == "table" else session.output
            screen.print(interval, count, output)


class _Screen:
    """Facts gathered for one moment after the other."""

    def __init__(self, client: SyncClient, feed: Feed) -> None:
        from rstmdb_cli.top import Traffic

        self._client = client
        self._feed = feed
        self._traffic = Traffic(time.monotonic())
        self._states: dict[str, dict[str, int]] = {}
        self._counted = float("-inf")

    def _gather(self) -> float:
        """Take what came, and ask what is due; the time."""
        from rstmdb_cli.top.feed import states_of

        now = time.monotonic()
        for event in self._feed.drained():
            self._traffic.take(event, now)
        if now - self._counted >= _STATES_EVERY_SECS:
            self._states = states_of(self._client)
            self._counted = now
        return now

    def show(self, interval: float, count: int | None) -> None:
        """Draw on the terminal."""
        from rich.console import Group

        from rstmdb_cli.top import view

        drawn = 0

        def render() -> Group | None:
            nonlocal drawn
            if drawn == count:
                return None
            drawn += 1
            now = self._gather()
            sample = self._traffic.sample(now, self._states)
            info, wal = self._client.info(), self._client.wal_stats()
            return view.view(info, wal, sample, self._traffic, now)

        view.show(render, interval)

    def print(self, interval: float, count: int | None, output: str) -> None:
        """Print an object for each interval."""
        printed = 0
        while printed != count:
            time.sleep(interval)
            if output == "yaml":
                click.echo("---")  # one document each
            click.echo(encoded(self._object(self._gather()), output))
            printed += 1

    def _object(self, now: float) -> dict[str, Any]:
        sample = self._traffic.sample(now, self._states)
        info, wal = self._client.info(), self._client.wal_stats()
        return {
            "events": sample.events,
            "events_per_sec": round(sample.per_sec, 3),
            "connections": info.connections,
            "instances": info.instances,
            "wal_bytes": wal.total_size_bytes,
            "wal_offset": wal.latest_offset,
            "machines": [
                {
                    "machine": row.machine,
                    "events": row.events,
                    "events_per_sec": round(row.per_sec, 3),
                    "instances_by_state": sample.states.get(row.machine, {}),
                }
                for row in sample.machines
            ],
        }
