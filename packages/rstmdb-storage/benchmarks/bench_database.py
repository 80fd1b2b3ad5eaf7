"""The embedded database: whole calls, recovery, snapshots. `nox -s micro`."""

from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rstmdb_storage import CompactionOptions, Database, FsyncPolicy, LogOptions, StorageOptions

RING: dict[str, Any] = {
    "states": ["s0", "s1", "s2"],
    "initial": "s0",
    "transitions": [{"from": f"s{n}", "event": "NEXT", "to": f"s{(n + 1) % 3}"} for n in range(3)],
}
PAYLOAD = {"step": 7, "who": "load"}
INSTANCES = 10_000
OPTIONS = StorageOptions(
    log=LogOptions(policy=FsyncPolicy.never()), compaction=CompactionOptions(enabled=False)
)


def fill(db: Database) -> None:
    db.put_machine("load", 1, RING)
    for number in range(INSTANCES):
        ctx = {"customer": f"c-{number}", "amount": 100}
        db.create_instance("load", 1, instance_id=f"i-{number}", initial_ctx=ctx)


@pytest.mark.parametrize("where", ["memory", "files"])
def test_an_event_is_applied(benchmark: BenchmarkFixture, tmp_path: Path, where: str) -> None:
    with Database.open(tmp_path if where == "files" else ":memory:", OPTIONS) as db:
        fill(db)
        assert benchmark(db.apply_event, "i-7", "NEXT", PAYLOAD).applied


def test_an_instance_is_read(benchmark: BenchmarkFixture) -> None:
    with Database.open(":memory:", OPTIONS) as db:
        fill(db)
        assert benchmark(db.get_instance, "i-7").state == "s0"


def test_10000_records_are_recovered_from_the_log(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    with Database.open(tmp_path, OPTIONS) as db:
        fill(db)
    assert benchmark(_instances_after_opening, tmp_path) == INSTANCES


def test_10000_instances_are_recovered_from_a_snapshot(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    with Database.open(tmp_path, OPTIONS) as db:
        fill(db)
        db.compact(force_snapshot=True)
    assert benchmark(_instances_after_opening, tmp_path) == INSTANCES


def _instances_after_opening(folder: Path) -> int:
    with Database.open(folder, OPTIONS) as db:
        return db.list_instances(limit=1).total


def test_a_snapshot_of_10000_instances_is_written(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    with Database.open(tmp_path, OPTIONS) as db:
        fill(db)
        assert benchmark(db.compact, force_snapshot=True).snapshots_created == 1
