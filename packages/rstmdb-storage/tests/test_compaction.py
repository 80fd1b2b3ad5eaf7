"""Compaction: what it may delete, when it runs, and what is still there after a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rstmdb_core import Limits
from rstmdb_storage import (
    CompactionOptions,
    Conflict,
    Database,
    InstanceExists,
    InstanceNotFound,
    SnapshotFailed,
)
from rstmdb_storage.testing import Clock, comparable, open_simulated, simulated_options
from rstmdb_wal.testing import SimulatedFileSystem


def busy(db: Database, door: dict[str, Any], events: int = 40) -> None:
    db.put_machine("door", 1, door)
    for n in range(3):
        db.create_instance("door", 1, instance_id=f"i{n}", initial_ctx={"n": n})
    for n in range(events):
        db.apply_event(f"i{n % 3}", "go", {"n": n}, event_id=f"e{n}")


@pytest.mark.parametrize("power", [False, True])
def test_everything_is_there_after_compaction_and_a_restart(
    door: dict[str, Any], power: bool
) -> None:
    fs = SimulatedFileSystem()
    clock = Clock()
    options = simulated_options(limits=Limits(idempotency_retention_ms=100_000))
    db = open_simulated(fs, options, clock=clock)
    busy(db, door)
    clock.now_ms += 10
    made = db.create_instance("door", 1, initial_ctx={"n": 5}, idempotency_key="make")
    kept = db.apply_event("i1", "go", {"deep": {"a": [1, None, "é"]}}, idempotency_key="k")
    gone = db.delete_instance("i2", idempotency_key="g")
    machine = db.get_machine("door")
    instances = [db.get_instance(item.id) for item in db.list_instances().instances]
    by_state = db.list_instances(machine="door", state="b")
    result = db.compact()
    assert result.segments_deleted > 2
    assert result.bytes_reclaimed > 2000
    assert result.wal_segments < 3
    state = comparable(db._store.state)
    if power:
        fs = fs.power_loss()
    else:
        db.close()
    db = open_simulated(fs, options, clock=clock)
    assert comparable(db._store.state) == state
    assert db.get_machine("door") == machine
    assert [db.get_instance(i.id) for i in db.list_instances().instances] == instances
    assert db.list_instances(machine="door", state="b") == by_state
    again = db.apply_event("i1", "go", {"deep": {"a": [1, None, "é"]}}, idempotency_key="k")
    assert (again.applied, again.wal_offset, again.ctx) == (False, kept.wal_offset, kept.ctx)
    with pytest.raises(Conflict):
        db.apply_event("i1", "stay", idempotency_key="k")
    assert db.create_instance(
        "door", 1, initial_ctx={"n": 5}, idempotency_key="make"
    ) == made  # fmt: skip
    assert db.delete_instance("i2", idempotency_key="g") == gone
    with pytest.raises(InstanceNotFound, match="was deleted"):
        db.get_instance("i2")
    with pytest.raises(InstanceExists, match="was deleted"):
        db.create_instance("door", 1, instance_id="i2")
    clock.now_ms += 100_001
    assert db.create_instance("door", 1, instance_id="i2").state == "a"
    assert db.apply_event("i1", "go", expected_state="c", idempotency_key="k").applied


def test_nothing_is_deleted_where_the_snapshot_did_not_succeed(door: dict[str, Any]) -> None:
    for operation in ("create", "pwrite", "fsync", "rename", "pread"):
        fs = SimulatedFileSystem()
        db = open_simulated(fs)
        busy(db, door)
        names = fs.names("/data/wal")
        fs.inject(operation, 1, 5)
        with pytest.raises(SnapshotFailed):
            db.compact()
        assert fs.names("/data/wal") == names


def test_segments_go_only_after_the_snapshot_is_written_verified_and_listed(
    door: dict[str, Any],
) -> None:
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    busy(db, door)
    fs.tracing = True
    db.compact()
    calls = [(call.operation, call.path.rpartition("/")[2]) for call in fs.trace]
    first_unlink = next(
        n for n, (operation, name) in enumerate(calls) if operation == "unlink" and "wal" in name
    )
    before = calls[:first_unlink]
    snap = next(name for operation, name in before if operation == "create" and ".snap" in name)
    order = [
        ("create", snap),
        ("fsync", snap),
        ("rename", snap),
        ("fsync_dir", "snapshots"),
        ("open_read", snap.removesuffix(".tmp")),
        ("fsync", "index.json.tmp"),
        ("rename", "index.json.tmp"),
        ("fsync_dir", "snapshots"),
    ]
    places = []
    at = -1
    for wanted in order:
        at = before.index(wanted, at + 1)
        places.append(at)
    assert places == sorted(places)
    assert any(operation == "fdatasync" for operation, _ in before[places[-1] :]), "checkpoint"


def test_the_log_goes_on_behind_the_snapshot(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    busy(db, door)
    before = db.wal_stats().latest_offset
    db.compact()
    sequences = [record.sequence for record in db.wal_read().records]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert db.wal_stats().earliest_offset <= before
    db.apply_event("i0", "go")
    db = open_simulated(fs.power_loss())
    assert db.apply_event("i0", "go").wal_offset > before


def test_compaction_twice_takes_one_snapshot_unless_it_is_forced(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    assert db.compact().snapshots_created == 1, "there was none"
    busy(db, door)
    assert db.compact().snapshots_created == 1
    assert db.compact().snapshots_created == 0
    db.close()
    db = open_simulated(fs)
    assert db.compact().snapshots_created == 0, "checkpoints alone are no reason"
    assert db.compact(force_snapshot=True).snapshots_created == 1


def store_with(options: CompactionOptions, door: dict[str, Any]) -> Any:
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d")
    store = db._store
    store.options = replace(store.options, compaction=options)  # only now: no thread runs
    store._snapshot_at_ms = store.monotonic() - options.min_interval_ms
    return store


def run(store: Any, events: int) -> None:
    for _ in range(events):
        store.apply_event("d", "go")
    store.flush_blocking()


def test_when_compaction_is_due(door: dict[str, Any]) -> None:
    store = store_with(CompactionOptions(enabled=False, events_threshold=1), door)
    assert not store.compaction_due()

    store = store_with(CompactionOptions(events_threshold=10, min_interval_ms=0), door)
    run(store, 7)
    assert not store.compaction_due()
    run(store, 1)
    assert store.compaction_due()
    store.run(store.compact())
    assert not store.compaction_due()

    big = CompactionOptions(
        events_threshold=10**9, size_threshold_bytes=5000, min_interval_ms=60_000
    )
    store = store_with(big, door)
    now = 0
    store.monotonic = lambda: now
    store._snapshot_at_ms = 0
    run(store, 40)
    assert not store.compaction_due(), "too soon"
    now = 60_000
    assert store.compaction_due()
    store.note_compaction_failed()
    assert not store.compaction_due()
    now = 120_000
    assert store.compaction_due()


def test_compaction_stays_in_proportion_to_the_snapshot(door: dict[str, Any]) -> None:
    store = store_with(CompactionOptions(events_threshold=1, min_interval_ms=0), door)
    for n in range(300):
        store.create_instance("door", 1, f"i{n}", {"text": f"{n * 7919:x}" * 5})
    store.flush_blocking()
    store.run(store.compact())
    size = store.catalog.full[-1].size_bytes
    run(store, 2)
    assert not store.compaction_due(), "the log is far smaller than the snapshot"
    while store.log.bytes_written - store._snapshot_at_bytes <= size // 2:
        assert not store.compaction_due()
        run(store, 1)
    assert store.compaction_due()


def test_what_a_reader_still_needs_is_kept_up_to_a_limit(door: dict[str, Any]) -> None:
    options = CompactionOptions(enabled=False, max_watch_lag_bytes=5000)
    store = store_with(options, door)
    run(store, 60)
    head = store.log.head
    segments = store.log.segments()
    near, far = segments[-3][0] << 40 | 200, segments[0][0] << 40 | 200
    store.hold_back = lambda: None
    assert store.retained_from(head) == head
    store.hold_back = lambda: near
    assert store.retained_from(head) == near
    store.hold_back = lambda: far
    assert store.retained_from(head) == head, "it lags too far"
    store.hold_back = lambda: head + 1
    assert store.retained_from(head) == head
    store.hold_back = lambda: near
    store.run(store.compact())
    assert store.log.segments()[0][0] == near >> 40
