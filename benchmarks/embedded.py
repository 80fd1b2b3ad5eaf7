"""The embedded database alone, no server: apply events with fsync policy never.

`python -m benchmarks.embedded` prints events a second, first of single calls, then of batches of
100; part of `nox -s goals`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.subject import fill
from rstmdb_storage import Database, FsyncPolicy, LogOptions, StorageOptions

INSTANCES = 1000
BATCH = 100
IDS = [f"bench-{number}" for number in range(INSTANCES)]
PAYLOAD = {"step": 1, "who": "load"}


def main() -> None:
    """Measure for the seconds that the command line names, 2 by default."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory(prefix="rstmdb-embedded-", dir=Path.cwd()) as folder:
        fill(Path(folder), INSTANCES)
        options = StorageOptions(log=LogOptions(policy=FsyncPolicy.never()))
        with Database.open(folder, options) as db:
            for round_of_all in (_one_by_one, _in_batches):
                _measure(db, round_of_all, seconds / 4)
                print(f"{_measure(db, round_of_all, seconds):.1f}")


def _one_by_one(db: Database) -> None:
    apply = db.apply_event
    for instance_id in IDS:
        apply(instance_id, "NEXT", PAYLOAD)


def _in_batches(db: Database) -> None:
    for first in range(0, INSTANCES, BATCH):
        with db.batch() as batch:
            for instance_id in IDS[first : first + BATCH]:
                batch.apply_event(instance_id, "NEXT", PAYLOAD)


def _measure(db: Database, round_of_all: Callable[[Database], None], seconds: float) -> float:
    count = 0
    began = time.perf_counter()
    stop = began + seconds
    while time.perf_counter() < stop:
        round_of_all(db)
        count += INSTANCES
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
