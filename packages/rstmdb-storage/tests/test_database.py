"""What a user of the embedded database calls, on a real directory and in memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rstmdb_storage import (
    BatchAborted,
    CompactionOptions,
    Conflict,
    Database,
    DatabaseClosed,
    DatabaseLocked,
    EngineOptions,
    FsyncPolicy,
    GuardFailed,
    InstanceExists,
    InstanceNotFound,
    InvalidBackupTarget,
    InvalidRequest,
    InvalidTransition,
    LogOptions,
    MachineNotFound,
    MachineVersionExists,
    MachineVersionLimitExceeded,
    OffsetGone,
    StorageOptions,
)
from rstmdb_storage.testing import comparable
from rstmdb_wal.fs import OsFileSystem


def opened(path: Any, policy: str = "every_write", **log: Any) -> Database:
    return Database.open(
        path,
        StorageOptions(
            log=LogOptions(policy=FsyncPolicy.parse(policy), **log),
            compaction=CompactionOptions(enabled=False),
        ),
    )


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


# -- machines -----------------------------------------------------------------------------


def test_a_machine_is_registered_found_and_listed(db: Database, door: dict[str, Any]) -> None:
    assert not db.put_machine("door", 1, door).created
    assert db.put_machine("door", 2, door).created
    assert db.get_machine("door").version == 2
    found = db.get_machine("door", 1)
    assert found.definition["states"] == door["states"]
    assert db.put_machine("door", 1, door, found.checksum).stored_checksum == found.checksum
    assert [(i.machine, i.versions) for i in db.list_machines().items] == [("door", [1, 2])]
    assert db.list_machines(limit=1, offset=1).items == []


def test_refusals_of_machines(db: Database, door: dict[str, Any]) -> None:
    with pytest.raises(MachineVersionExists):
        db.put_machine("door", 1, {**door, "initial": "b"})
    with pytest.raises(InvalidRequest):
        db.put_machine("x", 1, {"states": []})
    with pytest.raises(InvalidRequest, match="checksum"):
        db.put_machine("x", 1, door, "00")
    with pytest.raises(MachineNotFound):
        db.get_machine("nobody")
    with pytest.raises(MachineNotFound):
        db.get_machine("door", 9)


def test_the_number_of_versions_can_be_limited(door: dict[str, Any]) -> None:
    options = StorageOptions(engine=EngineOptions(max_machine_versions=1))
    with Database.open(":memory:", options) as db:
        db.put_machine("door", 1, door)
        with pytest.raises(MachineVersionLimitExceeded):
            db.put_machine("door", 2, door)


# -- instances ----------------------------------------------------------------------------


def test_an_instance_lives_from_its_creation_to_its_end(db: Database) -> None:
    created = db.create_instance("door", 1, initial_ctx={"n": 3})
    assert created.state == "a"
    applied = db.apply_event(created.instance_id, "go", {"who": "me"}, event_id="e1")
    assert (applied.from_state, applied.to_state, applied.applied) == ("a", "b", True)
    assert applied.ctx == {"n": 3, "who": "me"}
    found = db.get_instance(created.instance_id)
    assert (found.state, found.ctx, found.last_event_id) == ("b", applied.ctx, "e1")
    assert found.last_wal_offset == applied.wal_offset > created.wal_offset
    assert found.created_at <= found.updated_at <= time.time() * 1000
    deleted = db.delete_instance(created.instance_id)
    assert deleted.deleted
    assert db.delete_instance(created.instance_id) == deleted
    with pytest.raises(InstanceNotFound, match="was deleted"):
        db.get_instance(created.instance_id)


def test_refusals_of_instances_and_events(db: Database) -> None:
    for call in (
        lambda: db.get_instance("nobody"),
        lambda: db.apply_event("nobody", "go"),
        lambda: db.delete_instance("nobody"),
    ):
        with pytest.raises(InstanceNotFound):
            call()
    with pytest.raises(InstanceExists):
        db.create_instance("door", 1, instance_id="d")
    with pytest.raises(MachineNotFound):
        db.create_instance("window", 1)
    with pytest.raises(InvalidTransition):
        db.apply_event("d", "fly")
    with pytest.raises(GuardFailed):
        db.apply_event("d", "stay")
    with pytest.raises(Conflict):
        db.apply_event("d", "go", expected_state="c")
    with pytest.raises(Conflict):
        db.apply_event("d", "go", expected_wal_offset=1)
    with pytest.raises(InvalidRequest):
        db.apply_event("d", "go", {"n": 1 << 70})
    with pytest.raises(InvalidRequest):
        db.create_instance("door", 1, instance_id="")
    assert db.get_instance("d").state == "a"


def test_what_no_record_can_hold_is_refused(door: dict[str, Any]) -> None:
    options = StorageOptions(
        engine=EngineOptions(max_ctx_bytes=64 << 20), log=LogOptions(compress_from_bytes=0)
    )
    with Database.open(":memory:", options) as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        with pytest.raises(InvalidRequest, match="16 MiB"):
            db.apply_event("d", "go", {"big": "x" * (17 << 20)})
        assert db.get_instance("d").state == "a"
        assert db.apply_event("d", "go").to_state == "b"


def test_a_repeat_with_its_key_changes_nothing(db: Database) -> None:
    first = db.apply_event("d", "go", {"n": 5}, idempotency_key="k")
    head = db.wal_stats().latest_offset
    again = db.apply_event("d", "go", {"n": 5}, idempotency_key="k")
    assert (again.wal_offset, again.applied, again.ctx) == (first.wal_offset, False, first.ctx)
    with pytest.raises(Conflict):
        db.apply_event("d", "go", {"n": 6}, idempotency_key="k")
    made = db.create_instance("door", 1, idempotency_key="c")
    assert db.create_instance("door", 1, idempotency_key="c") == made
    gone = db.delete_instance(made.instance_id, idempotency_key="g")
    assert db.delete_instance(made.instance_id, idempotency_key="g") == gone
    assert db.wal_stats().latest_offset == gone.wal_offset > head


def test_lists_have_filters_pages_and_totals(db: Database) -> None:
    for number in range(5):
        db.create_instance("door", 1, instance_id=f"i{number}")
    db.apply_event("i1", "go")
    page = db.list_instances(machine="door", limit=2)
    assert ([i.id for i in page.instances], page.total, page.has_more) == (["d", "i0"], 6, True)
    rest = db.list_instances(after="i0", limit=10)
    assert [i.id for i in rest.instances] == ["i1", "i2", "i3", "i4"]
    moved = db.list_instances(machine="door", state="b")
    assert ([i.id for i in moved.instances], moved.total) == (["i1"], 1)
    assert db.list_instances(machine="nobody").total == 0
    assert [i.id for i in db.list_instances(offset=5).instances] == ["i4"]


def test_flush_all_empties_everything(db: Database) -> None:
    flushed = db.flush_all()
    assert (flushed.instances_removed, flushed.machines_removed) == (1, 1)
    assert db.list_instances().total == 0
    assert db.list_machines().items == []


# -- batches ------------------------------------------------------------------------------


def test_an_atomic_batch_sees_its_own_work(db: Database, door: dict[str, Any]) -> None:
    with db.batch(atomic=True) as batch:
        batch.put_machine("new", 1, door)
        batch.create_instance("new", 1, instance_id="n")
        batch.apply_event("n", "go", {"k": 1})
        batch.delete_instance("d")
    assert [type(result).__name__ for result in batch.results] == [
        "PutMachineResult",
        "CreateInstanceResult",
        "ApplyResult",
        "DeleteInstanceResult",
    ]
    assert batch.results[2].ctx == {"k": 1}
    assert db.get_instance("n").state == "b"


def test_a_refusal_undoes_an_atomic_batch_whole(db: Database) -> None:
    before = comparable(db._store.state)
    stats = db.wal_stats()
    batch = db.batch(atomic=True)
    batch.create_instance("door", 1, instance_id="n", idempotency_key="k")
    batch.apply_event("d", "go")
    batch.delete_instance("d")
    batch.apply_event("d", "go")
    with pytest.raises(BatchAborted) as caught, batch:
        pass
    assert caught.value.index == 3
    assert type(caught.value.cause) is InstanceNotFound
    assert comparable(db._store.state) == before
    assert db.wal_stats().latest_offset == stats.latest_offset
    db.create_instance("door", 1, instance_id="n", idempotency_key="k")


def test_without_atomic_each_stands_alone(db: Database) -> None:
    with db.batch() as batch:
        batch.apply_event("d", "fly")
        batch.apply_event("d", "go")
        batch.apply_event("nobody", "go")
    assert [type(result).__name__ for result in batch.results] == [
        "InvalidTransition",
        "ApplyResult",
        "InstanceNotFound",
    ]
    assert db.get_instance("d").state == "b"


def test_a_batch_block_left_by_an_exception_runs_nothing(db: Database) -> None:
    def fail() -> None:
        with db.batch() as batch:
            batch.apply_event("d", "go")
            raise KeyError("mine")

    with pytest.raises(KeyError):
        fail()
    assert db.get_instance("d").state == "a"


def test_a_batch_may_be_larger_than_a_segment(tmp_path: Path, door: dict[str, Any]) -> None:
    with opened(tmp_path, segment_bytes=1024) as db:
        db.put_machine("door", 1, door)
        with db.batch(atomic=True) as batch:
            for number in range(100):
                batch.create_instance("door", 1, instance_id=f"i{number}")
        assert len(batch.results) == 100
        db.create_instance("door", 1, instance_id="after")
        sizes = [size for _, _, size in db._store.log.segments()]
        assert max(sizes) > 5000
        assert sizes[-1] < 1024
    with opened(tmp_path) as db:
        assert db.list_instances().total == 101


# -- opening and closing ------------------------------------------------------------------


def test_everything_is_there_after_closing_and_opening(
    tmp_path: Path, door: dict[str, Any]
) -> None:
    with opened(tmp_path / "new" / "data") as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d", initial_ctx={"n": 1})
        kept = db.apply_event("d", "go", idempotency_key="k")
        before = comparable(db._store.state)
    with opened(tmp_path / "new" / "data") as db:
        assert comparable(db._store.state) == before
        assert not db.apply_event("d", "go", idempotency_key="k").applied
        assert db.get_instance("d").last_wal_offset == kept.wal_offset
        head = db.wal_stats().latest_offset
    with opened(tmp_path / "new" / "data") as db:
        assert db.wal_stats().latest_offset == head, "a clean start writes nothing"


def test_a_closed_database_refuses_and_may_be_closed_again(db: Database) -> None:
    watch = db.watch()
    db.close()
    db.close()
    for call in (
        lambda: db.get_instance("d"),
        lambda: db.apply_event("d", "go"),
        lambda: db.wal_read(),
        lambda: db.wal_stats(),
        lambda: db.compact(),
        lambda: db.watch(),
    ):
        with pytest.raises(DatabaseClosed):
            call()
    batch = db.batch()
    batch.apply_event("d", "go")
    with pytest.raises(DatabaseClosed), batch:
        pass
    assert list(watch) == []


def test_a_directory_has_one_owner_in_this_process_and_in_another(tmp_path: Path) -> None:
    holder = (
        "import sys; from rstmdb_storage import Database\n"
        f"db = Database.open({str(tmp_path)!r})\n"
        "print('open', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(DatabaseLocked, match=rf"process {process.pid}\b"):
            opened(tmp_path)
        process.kill()
    with opened(tmp_path), pytest.raises(DatabaseLocked, match="stop that process"):
        opened(tmp_path)


def test_a_directory_that_cannot_be_written_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).close()

    class ReadOnly(OsFileSystem):
        def lock(self, path: Path) -> Any:
            raise OSError(30, "Read-only file system", str(path))

    with pytest.raises(OSError, match=r"Read-only file system.*LOCK"):
        Database.open(tmp_path, fs=ReadOnly())


# -- durability ---------------------------------------------------------------------------


def test_threads_share_syncs_and_each_acknowledged_write_is_durable(
    tmp_path: Path, door: dict[str, Any]
) -> None:
    class SlowDisk(OsFileSystem):
        """Syncs take a millisecond, so that threads meet."""

        def open_append(self, path: Path) -> Any:
            return Slow(super().open_append(path))

        def create(self, path: Path) -> Any:
            return Slow(super().create(path))

    class Slow:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def fdatasync(self) -> None:
            time.sleep(0.001)
            self._file.fdatasync()

    db = Database.open(tmp_path, fs=SlowDisk())
    db.put_machine("door", 1, door)
    finished: list[int] = []

    def work(number: int) -> None:
        db.create_instance("door", 1, instance_id=f"t{number}")
        for _ in range(30):
            applied = db.apply_event(f"t{number}", "go")
            assert applied.wal_offset <= db._store.log.durable
            assert db.get_instance(f"t{number}").last_wal_offset == applied.wal_offset
        finished.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == list(range(16))
    stats = db._store.log.stats()
    assert stats.entry_count == 1 + 16 * 31
    assert stats.fsyncs < stats.entry_count / 3
    db.close()
    with opened(tmp_path) as again:
        assert again.list_instances(state="a").total == 16


def test_every_n_syncs_before_n_records_are_unsynced(tmp_path: Path, door: dict[str, Any]) -> None:
    with opened(tmp_path, "every_n:5") as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        log = db._store.log
        unsynced = []
        for _ in range(20):
            db.apply_event("d", "go")
            unsynced.append(log.released_sequence - log.durable_sequence)
        assert max(unsynced) == 4
        assert unsynced.count(0) == 4


def test_every_ms_syncs_also_when_traffic_stops(tmp_path: Path, door: dict[str, Any]) -> None:
    with opened(tmp_path, "every_ms:40") as db:
        log = db._store.log
        for number in range(3):
            written = time.monotonic()
            db.put_machine("door", number + 1, door)
            assert log.durable < log.released
            wait_until(lambda: log.durable == log.released)
            assert time.monotonic() - written >= 0.03


def test_never_syncs_at_the_latest_when_it_is_closed(tmp_path: Path, door: dict[str, Any]) -> None:
    db = opened(tmp_path, "never")
    for number in range(10):
        db.put_machine("door", number + 1, door)
    log = db._store.log
    fsyncs = log.stats().fsyncs
    assert log.durable < log.released
    db.close()
    assert log.durable == log.released
    assert log.stats().fsyncs > fsyncs


# -- the log and watches ------------------------------------------------------------------


def test_the_log_can_be_read_in_pages(db: Database) -> None:
    page = db.wal_read()
    assert [record.sequence for record in page.records] == [1, 2]
    first = db.wal_read(limit=1)
    assert first.records == page.records[:1]
    assert db.wal_read(first.next_offset).records == page.records[1:]
    assert b'"put_machine"' in bytes(page.records[0].entry)
    assert db.wal_read(page.next_offset).records == []
    stats = db.wal_stats()
    assert (stats.entry_count, stats.latest_offset) == (2, page.records[1].offset)
    assert stats.durable_offset == stats.latest_offset
    assert stats.earliest_offset == page.records[0].offset


def test_a_watch_shows_each_transition_once_in_order(db: Database) -> None:
    watch = db.watch(timeout=0)
    offsets = [db.apply_event("d", "go", {"n": n}).wal_offset for n in range(3)]
    events = list(watch)
    assert [event.wal_offset for event in events] == offsets
    assert events[1].from_state == "b"
    assert events[1].payload == {"n": 1}
    assert events[1].ctx == {"n": 1}
    assert (events[1].instance_id, events[1].machine, events[1].version) == ("d", "door", 1)
    assert list(watch) == []
    db.apply_event("d", "go")
    assert [event.to_state for event in watch] == ["b"]
    assert [e.wal_offset for e in db.watch(from_offset=offsets[1], timeout=0)][:2] == offsets[1:]
    assert len(list(db.watch(from_offset=0, timeout=0))) == 4


def test_a_watch_has_filters(db: Database, door: dict[str, Any]) -> None:
    db.put_machine("other", 1, door)
    db.create_instance("other", 1, instance_id="o", initial_ctx={"n": 2})
    db.apply_event("d", "go")
    db.apply_event("o", "go")
    db.apply_event("o", "stay")

    def seen(**filters: Any) -> list[tuple[str, str]]:
        found = db.watch(from_offset=0, timeout=0, **filters)
        return [(event.instance_id, event.event) for event in found]

    assert seen(instance_id="d") == [("d", "go")]
    assert seen(machines=["other"]) == [("o", "go"), ("o", "stay")]
    assert seen(events=["stay"]) == [("o", "stay")]
    assert seen(machines=["door"], events=["stay"]) == []


def test_a_watch_waits_for_what_comes_and_ends_when_it_is_closed(db: Database) -> None:
    seen: list[str] = []
    watch = db.watch()
    reader = threading.Thread(target=lambda: seen.extend(event.to_state for event in watch))
    reader.start()
    db.apply_event("d", "go")
    wait_until(lambda: seen == ["b"])
    db.apply_event("d", "go")
    wait_until(lambda: seen == ["b", "c"])
    watch.close()
    reader.join(10)
    assert not reader.is_alive()
    db.apply_event("d", "go")
    assert list(watch) == []
    assert seen == ["b", "c"]


def test_closing_the_database_ends_watches(db: Database) -> None:
    watch = db.watch()
    reader = threading.Thread(target=lambda: list(watch))
    reader.start()
    db.close()
    reader.join(10)
    assert not reader.is_alive()


def test_a_watch_can_be_resumed_from_its_position(db: Database) -> None:
    offsets = [db.apply_event("d", "go").wal_offset for _ in range(4)]
    watch = db.watch(from_offset=0, timeout=0)
    assert [next(watch).wal_offset for _ in range(2)] == offsets[:2]
    resumed = db.watch(from_offset=watch.position + 1, timeout=0)
    assert [event.wal_offset for event in resumed] == offsets[2:]


def test_compaction_keeps_what_a_watch_has_not_read(tmp_path: Path, door: dict[str, Any]) -> None:
    with opened(tmp_path, segment_bytes=1024) as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        watch = db.watch(timeout=0)
        offsets = [db.apply_event("d", "go").wal_offset for _ in range(50)]
        assert db.compact().segments_deleted == 0
        assert [event.wal_offset for event in watch] == offsets
        db.compact(force_snapshot=True)
        assert db.wal_stats().earliest_offset > offsets[40]
        with pytest.raises(OffsetGone) as caught:
            next(db.watch(from_offset=1))
        assert caught.value.earliest_offset == db.wal_stats().earliest_offset
        with pytest.raises(OffsetGone):
            db.wal_read(1)
        kept = [event.wal_offset for event in db.watch(from_offset=0, timeout=0)]
        assert kept == offsets[-len(kept) :]
        assert len(kept) < 10
        assert db.wal_read(0).records[0].offset >= db.wal_stats().earliest_offset


def test_a_watch_that_lags_too_far_is_overtaken(tmp_path: Path, door: dict[str, Any]) -> None:
    options = StorageOptions(
        log=LogOptions(segment_bytes=1024),
        compaction=CompactionOptions(enabled=False, max_watch_lag_bytes=3000),
    )
    with Database.open(tmp_path, options) as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        watch = db.watch(timeout=0)
        for _ in range(50):
            db.apply_event("d", "go")
        assert db.compact().segments_deleted > 3
        with pytest.raises(OffsetGone):
            next(watch)


# -- maintenance --------------------------------------------------------------------------


def test_snapshot_compact_and_backup(db: Database, tmp_path: Path) -> None:
    db.apply_event("d", "go")
    taken = db.snapshot()
    assert taken.wal_offset == db.get_instance("d").last_wal_offset
    assert db.compact().snapshots_created == 0, "nothing was written since the last"
    forced = db.compact(force_snapshot=True)
    assert (forced.snapshots_created, forced.total_snapshots) == (1, 2)
    one = db.snapshot_instance("d")
    assert (one.instance_id, one.wal_offset) == ("d", taken.wal_offset)
    with pytest.raises(InstanceNotFound):
        db.snapshot_instance("nobody")
    saved = db.backup(tmp_path / "saved")
    assert saved.files >= 2
    db.apply_event("d", "go")
    with opened(tmp_path / "saved") as copy:
        assert copy.get_instance("d").state == "b"
    with pytest.raises(InvalidBackupTarget):
        db.backup(tmp_path / "saved")


def test_compaction_runs_by_itself_once_enough_was_written(
    tmp_path: Path, door: dict[str, Any]
) -> None:
    compaction = CompactionOptions(events_threshold=50, min_interval_ms=0)
    options = StorageOptions(log=LogOptions(segment_bytes=2048), compaction=compaction)
    with Database.open(tmp_path, options) as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        for _ in range(200):
            db.apply_event("d", "go")
        wait_until(lambda: len(db._store.catalog.full) > 0 and db._worker is None)
        wait_until(lambda: db.wal_stats().earliest_offset > 1 << 41)
        assert db._store.failures.total() == 0
        state = db.get_instance("d")
    with Database.open(tmp_path, options) as db:
        assert db.get_instance("d") == state
