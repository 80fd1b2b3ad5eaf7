"""A read model: a table in SQLite, fed by a watch that resumes where the last run ended.

`python examples/read_model.py MODEL.db [URL] [--idle SECONDS]`: MODEL.db is the file of the
table, URL a server (where rstmdb-cli looks, unless given). It ends after SECONDS without an
event, else never. Kill it whenever you like and start it again.

Each event and its offset go into the file in one transaction. Whatever happens, the table then
holds exactly the events up to that offset, and the next run asks for those behind it: each
event counts once, although nobody remembers anything but the file. A new file begins with the
instances as they are; later ones appear with their first event, as creating one is no event.
"""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

from rstmdb_client import SyncClient, Target, WatchEnded
from rstmdb_protocol import EventMessage

SCHEMA = """
CREATE TABLE IF NOT EXISTS position (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_offset INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS instances (
    id TEXT PRIMARY KEY,
    machine TEXT NOT NULL,
    state TEXT NOT NULL,
    as_of INTEGER NOT NULL  -- the offset of the event that led here
);
CREATE TABLE IF NOT EXISTS transitions (
    machine TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (machine, from_state, to_state)
);
"""


class ReadModel:
    """The file: it changes only by whole events, together with the position behind them."""

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(path)
        self._sql.executescript(SCHEMA)

    @property
    def next_offset(self) -> int | None:
        """From where to watch; None for a file that has seen nothing yet."""
        row = self._sql.execute("SELECT next_offset FROM position").fetchone()
        return None if row is None else int(row[0])

    def take(self, event: EventMessage) -> None:
        """Take in an event and its offset in one transaction."""
        with self._sql as sql:
            self._set(sql, event.instance_id, event.machine, event.to_state, event.wal_offset)
            sql.execute(
                "INSERT INTO transitions VALUES (?, ?, ?, 1) "
                "ON CONFLICT DO UPDATE SET count = count + 1",
                (event.machine, event.from_state, event.to_state),
            )
            self._move_on(sql, event.wal_offset + 1)

    def begin_with(self, db: SyncClient, head: int) -> None:
        """Take in all instances as they are: what lies behind cannot all be watched any more.

        `head` was the end of the log before the list was read. An instance may be listed as it
        was later; then the event that led there comes once more and says the same.
        """
        with self._sql as sql:
            for row in db.instances():
                self._set(sql, row.id, row.machine, row.state, row.last_wal_offset)
            self._move_on(sql, head + 1)

    def forget(self) -> None:
        """Be as a new file is, but for the counts."""
        with self._sql as sql:
            sql.execute("DELETE FROM instances")
            sql.execute("DELETE FROM position")

    @staticmethod
    def _set(sql: sqlite3.Connection, name: str, machine: str, state: str, offset: int) -> None:
        sql.execute(
            "INSERT INTO instances VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET machine = excluded.machine, state = excluded.state, as_of = excluded.as_of "
            "WHERE excluded.as_of > instances.as_of",
            (name, machine, state, offset),
        )

    @staticmethod
    def _move_on(sql: sqlite3.Connection, next_offset: int) -> None:
        sql.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (next_offset,))

    def show(self) -> None:
        """Print what anybody could ask with SQL."""
        for machine, state, count in self._sql.execute(
            "SELECT machine, state, COUNT(*) FROM instances GROUP BY 1, 2 ORDER BY 1, 2"
        ):
            print(f"{machine}: {count} {state}")
        (total,) = self._sql.execute("SELECT COALESCE(SUM(count), 0) FROM transitions").fetchone()
        print(f"{total} transitions")

    def close(self) -> None:
        """Close the file."""
        self._sql.close()


def follow(db: SyncClient, model: ReadModel, idle_secs: float | None) -> None:
    """Feed the model until nothing has come for a while."""
    while True:
        if model.next_offset is None:
            model.begin_with(db, db.wal_stats().latest_offset)
        with db.watch_all(include_ctx=False, from_offset=model.next_offset) as watch:
            try:
                while True:
                    model.take(watch.receive(idle_secs))
            except TimeoutError:
                return


def main() -> None:
    """Feed the model and show it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--idle", type=float, help="end after so many seconds without an event")
    options = parser.parse_args()
    target = Target.parse(options.url) if options.url else Target.from_environ()
    model = ReadModel(options.model)
    try:
        with SyncClient(target) as db:
            try:
                follow(db, model, options.idle)
            except WatchEnded as ended:
                # The last run was too long ago: what it has missed is gone from the log, and
                # only what came of it is left.
                print(f"{ended}: beginning anew with the instances as they are")
                model.forget()
                follow(db, model, options.idle)
        model.show()
    finally:
        model.close()


if __name__ == "__main__":
    main()
