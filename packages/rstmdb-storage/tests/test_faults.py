"""Full disks, failed writes, failed syncs; and answers that are held until they are safe."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rstmdb_core import Rejection
from rstmdb_storage import (
    BackupFailed,
    BatchAborted,
    CompactionOptions,
    Database,
    InstanceExists,
    InstanceNotFound,
    InvalidTransition,
    MachineNotFound,
    Store,
    WriteFailed,
)
from rstmdb_storage.testing import comparable, open_simulated, simulated_options
from rstmdb_wal.testing import SimulatedFileSystem


def filled(fs: Any, door: dict[str, Any], **options: Any) -> Database:
    db = open_simulated(fs, simulated_options(**options))
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d", initial_ctx={"n": 1})
    return db


# -- a full disk --------------------------------------------------------------------------


def test_a_full_disk_fails_writes_undoes_them_and_passes(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db.apply_event("d", "go", idempotency_key="k")
    state = comparable(db._store.state)
    offset = db.wal_stats().latest_offset
    fs.free_bytes = 0
    big = {"text": os.urandom(300).hex()}
    for _ in range(3):
        with pytest.raises(WriteFailed) as caught:
            db.apply_event("d", "go", big, idempotency_key="lost")
        assert not caught.value.final
    with pytest.raises(WriteFailed):
        db.create_instance("door", 1, instance_id="lost", initial_ctx=big)
    batch = db.batch(atomic=True)
    batch.apply_event("d", "go", big)
    with pytest.raises(WriteFailed), batch:
        pass
    assert comparable(db._store.state) == state, "everything speculative is undone"
    assert db.wal_stats().latest_offset == offset
    assert db.get_instance("d").state == "b"
    assert not db.apply_event("d", "go", idempotency_key="k").applied
    assert db.list_instances(state="b").total == 1
    fs = fs.crash()
    fs.free_bytes = None
    db = open_simulated(fs)
    assert comparable(db._store.state) == state, "a restart finds what was acknowledged"
    assert db.apply_event("d", "go", big, idempotency_key="lost").applied
    db.create_instance("door", 1, instance_id="lost")
    state = comparable(db._store.state)
    assert comparable(open_simulated(fs.power_loss())._store.state) == state


def test_writes_are_taken_again_without_a_restart(door: dict[str, Any]) -> None:
    for seed in range(20):
        fs = SimulatedFileSystem(seed)
        db = filled(fs, door)
        watch = db.watch(timeout=0)
        acknowledged = []
        for n in range(40):
            if n % 5 == 3:
                fs.inject("pwrite", 1, errno.ENOSPC)
            with contextlib.suppress(WriteFailed):
                acknowledged.append(db.apply_event("d", "go", {"n": n}).wal_offset)
            assert db._store.log.failed is None
            fs.clear_faults()
        assert 32 <= len(acknowledged) < 36, "zeros ahead may have met the full disk instead"
        assert len(set(acknowledged)) == len(acknowledged)
        assert [event.wal_offset for event in watch] == acknowledged
        state = comparable(db._store.state)
        assert comparable(open_simulated(fs.power_loss())._store.state) == state


def test_a_checkpoint_that_was_undone_is_forgotten(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    store = db._store
    store.checkpoint()
    fs.inject("pwrite", 1, errno.ENOSPC)
    with pytest.raises(WriteFailed):
        store.flush_blocking()
    fs.clear_faults()
    db.apply_event("d", "go")
    appended = store.appended
    assert appended == 3
    db.close()
    last = open_simulated(fs)
    assert last._store.recovered.checkpoint == last.wal_stats().latest_offset, "it was a clean stop"


def test_a_full_disk_at_the_start_does_not_keep_from_reading(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    state = comparable(db._store.state)
    fs = fs.crash()
    fs.inject("pwrite", 2, errno.ENOSPC, lasting=True)
    db = open_simulated(fs)
    assert comparable(db._store.state) == state
    with pytest.raises(WriteFailed):
        db.apply_event("d", "go")
    fs.clear_faults()
    assert db.apply_event("d", "go").applied


# -- failures that are final --------------------------------------------------------------


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_after_a_failed_write_or_sync_nothing_is_acknowledged(
    door: dict[str, Any], operation: str
) -> None:
    for seed in range(20):
        fs = SimulatedFileSystem(seed)
        db = filled(fs, door)
        db.apply_event("d", "go")
        state = comparable(db._store.state)
        watch = db.watch(timeout=0)
        fs.inject(operation, 1, errno.EIO)
        calls: list[Callable[[], Any]] = [
            partial(db.apply_event, "d", "go", {"n": 7}),
            partial(db.apply_event, "d", "go"),
            partial(db.put_machine, "door", 2, door),
            partial(db.compact, force_snapshot=True),
            db.flush_all,
        ]
        for call in calls:
            with pytest.raises(WriteFailed) as caught:
                call()
            assert caught.value.final
        with pytest.raises(WriteFailed), db.batch() as batch:
            batch.apply_event("d", "go")
        assert comparable(db._store.state) == state
        assert db.get_instance("d").state == "b", "reads of released state go on"
        assert db.list_instances().total == 1
        with pytest.raises(InstanceNotFound):
            db.get_instance("nobody")
        assert list(watch) == []
        assert db._store.log.failed is not None
        db.close()
        again = open_simulated(fs.power_loss())
        found = again.get_instance("d")
        assert (found.state, found.ctx) in [("b", {"n": 1}), ("c", {"n": 7})]
        again.apply_event("d", "go")


def test_a_restart_does_not_trust_pages_of_a_failed_sync(door: dict[str, Any]) -> None:
    for seed in range(40):
        fs = SimulatedFileSystem(seed)
        db = filled(fs, door)
        fs.inject("fdatasync", 1, errno.EIO)
        with pytest.raises(WriteFailed):
            db.apply_event("d", "go", {"n": 7})
        fs = fs.crash()
        db = open_simulated(fs)
        seen = db.get_instance("d").ctx
        again = open_simulated(fs.power_loss())
        assert again.get_instance("d").ctx == seen, "what was shown after the restart stays"


def test_closing_after_a_failure_wakes_who_waits_and_gives_the_directory_up(
    door: dict[str, Any],
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, policy="never")
    db.apply_event("d", "go")
    fs.inject("fdatasync", 1, errno.EIO)
    with pytest.raises(WriteFailed):
        db.close()
    fs.clear_faults()
    assert open_simulated(fs).get_instance("d").state in ("a", "b")


# -- answers are held ---------------------------------------------------------------------


class Waiting:
    """A store whose flushes run when the test says so."""

    def __init__(self, door: dict[str, Any]) -> None:
        self.fs = SimulatedFileSystem()
        self.db = filled(self.fs, door)
        self.store: Store = self.db._store

    def held(self, answer: tuple[Any, int]) -> bool:
        return answer[1] > self.store.log.released

    def held_refusal(self, kind: type[Exception], call: Callable[[], Any]) -> bool:
        with pytest.raises(kind) as caught:
            call()
        error: Any = caught.value
        return int(error.depends_on) > self.store.log.released


def test_every_answer_waits_for_what_it_was_computed_from(door: dict[str, Any]) -> None:
    w = Waiting(door)
    store = w.store
    store.create_instance("door", 1, "quiet")
    store.flush_blocking()
    assert not w.held(store.get_instance("d"))
    assert not w.held_refusal(InvalidTransition, lambda: store.apply_event("d", "fly"))

    store.apply_event("d", "go", None, None, None, None, "k")
    assert w.held(store.get_instance("d"))
    assert w.held(store.list_instances())
    assert w.held(store.list_instances("door", "a"))
    assert w.held(store.list_instances("door", "b"))
    assert w.held(store.apply_event("d", "go", None, None, None, None, "k")), "a repeat"
    assert w.held_refusal(InvalidTransition, lambda: store.apply_event("d", "fly"))
    assert w.held_refusal(Rejection, lambda: store.apply_event("d", "go", None, "a"))
    assert not w.held(store.get_instance("quiet"))
    assert not w.held(store.get_machine("door"))
    assert not w.held(store.list_machines())
    assert not w.held_refusal(InvalidTransition, lambda: store.apply_event("quiet", "fly"))

    store.delete_instance("quiet")
    assert w.held_refusal(InstanceNotFound, lambda: store.get_instance("quiet"))
    assert w.held_refusal(InstanceExists, lambda: store.create_instance("door", 1, "quiet"))
    assert w.held(store.delete_instance("quiet"))
    store.put_machine("window", 1, door)
    assert w.held(store.put_machine("window", 1, door))
    assert w.held(store.list_machines())
    assert w.held(store.get_machine("window"))
    assert w.held_refusal(MachineNotFound, lambda: store.get_machine("window", 2))
    store.flush_all()
    assert w.held(store.list_instances())
    assert w.held(store.list_machines())
    assert w.held_refusal(InstanceNotFound, lambda: store.get_instance("d"))
    assert w.held_refusal(MachineNotFound, lambda: store.get_machine("door"))
    store.flush_blocking()
    assert not w.held(store.list_instances())
    assert not w.held_refusal(InstanceNotFound, lambda: store.get_instance("d"))


def test_the_refusal_of_a_batch_waits_for_what_its_first_commands_saw(
    door: dict[str, Any],
) -> None:
    w = Waiting(door)
    store = w.store

    def refused() -> Any:
        commands = [lambda: store.apply_event("d", "go"), lambda: store.get_instance("nobody")]
        return store.batch(commands, atomic=True)

    assert not w.held_refusal(BatchAborted, refused)
    store.apply_event("d", "go")
    assert w.held_refusal(BatchAborted, refused), "it tells that the first one was accepted"
    assert not w.held_refusal(
        BatchAborted, lambda: store.batch([lambda: store.get_instance("nobody")], atomic=True)
    )
    store.flush_blocking()
    head = store.log.head
    w.held_refusal(BatchAborted, refused)
    assert store.log.head == head


def test_watchers_and_readers_see_released_entries_only(door: dict[str, Any]) -> None:
    w = Waiting(door)
    shown: list[int] = []
    w.store.listener = lambda feed: shown.extend(offset for offset, _ in feed)
    watch = w.db.watch(from_offset=0, timeout=0)
    _, offset = w.store.apply_event("d", "go")
    assert list(watch) == []
    assert offset not in [record.offset for record in w.store.wal_read(0).records]
    assert shown == []
    w.store.flush_blocking()
    assert shown == [offset]
    assert [event.wal_offset for event in watch] == [offset]
    assert w.store.wal_read(0).records[-1].offset == offset
    w.fs.inject("pwrite", 1, errno.ENOSPC)
    w.store.apply_event("d", "go")
    with pytest.raises(WriteFailed):
        w.store.flush_blocking()
    assert shown == [offset]


def test_a_watch_misses_nothing_where_an_offset_is_given_out_again(door: dict[str, Any]) -> None:
    w = Waiting(door)
    _, undone = w.store.apply_event("d", "go")
    watch = w.db.watch(timeout=0)
    w.fs.inject("pwrite", 1, errno.ENOSPC)
    with pytest.raises(WriteFailed):
        w.store.flush_blocking()
    w.fs.clear_faults()
    applied = w.db.apply_event("d", "go")
    assert applied.wal_offset == undone
    assert [event.wal_offset for event in watch] == [undone]


class GatedFileSystem:
    """Writes wait at a gate, so that a test decides when the disk answers, and how."""

    def __init__(self, fs: SimulatedFileSystem) -> None:
        self._fs = fs
        self.closed = False
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def open_append(self, path: Path) -> Any:
        return GatedFile(self, self._fs.open_append(path))

    def create(self, path: Path) -> Any:
        return GatedFile(self, self._fs.create(path))


class GatedFile:
    def __init__(self, gate: GatedFileSystem, file: Any) -> None:
        self._gate = gate
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def pwrite(self, data: bytes, position: int) -> int:
        if self._gate.closed:
            self._gate.reached.set()
            assert self._gate.opened.wait(10)
        return int(self._file.pwrite(data, position))


@pytest.mark.parametrize("works", [True, False])
def test_readers_wait_for_the_write_they_saw_and_share_its_fate(
    door: dict[str, Any], works: bool
) -> None:
    fs = SimulatedFileSystem()
    gate = GatedFileSystem(fs)
    db = filled(gate, door)
    db.create_instance("door", 1, instance_id="quiet")
    answers: dict[str, Any] = {}

    def ask(name: str, call: Callable[[], Any]) -> threading.Thread:
        def run() -> None:
            try:
                answers[name] = call()
            except (WriteFailed, Rejection) as error:
                answers[name] = type(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    gate.closed = True
    threads = [ask("write", lambda: db.apply_event("d", "go"))]
    assert gate.reached.wait(10)
    assert db.get_instance("quiet").state == "a", "what rests on nothing unreleased leaves"
    threads += [
        ask("read", lambda: db.get_instance("d")),
        ask("refusal", lambda: db.apply_event("d", "fly")),
        ask("queued", lambda: db.apply_event("d", "go")),
    ]
    for thread in threads[1:]:
        thread.join(0.05)
    assert answers == {}
    if not works:
        fs.inject("pwrite", 1, errno.ENOSPC)
    gate.closed = False
    gate.opened.set()
    for thread in threads:
        thread.join(10)
    if works:
        assert answers["write"].to_state == "b"
        assert answers["read"].state in ("b", "c")
        assert answers["refusal"] is InvalidTransition
        assert answers["queued"].to_state == "c"
    else:
        assert set(answers.values()) == {WriteFailed}
        assert db.get_instance("d").state == "a"
        assert db.apply_event("d", "go").to_state == "b"


# -- maintenance that fails ---------------------------------------------------------------


def test_a_failed_backup_is_counted_leaves_nothing_and_can_be_repeated(
    door: dict[str, Any],
) -> None:
    for operation in ("create", "pwrite", "fsync", "rename", "pread", "close"):
        fs = SimulatedFileSystem()
        db = filled(fs, door)
        db.snapshot()
        fs.inject(operation, 2 if operation == "pwrite" else 1, errno.EIO)
        if operation == "pwrite":
            db.apply_event("d", "go")  # the first write is the log's own
        with pytest.raises(BackupFailed):
            db.backup("/data/saved")
        fs.clear_faults()
        assert db._store.failures["backup"] == 1
        assert not fs.exists(Path("/data/saved"))
        db.apply_event("d", "go")
        db.backup("/data/saved")
        copy = open_simulated(fs, path="/data/saved")
        assert comparable(copy._store.state) == comparable(db._store.state)


def test_automatic_compaction_that_fails_is_counted_and_tried_again(
    door: dict[str, Any],
) -> None:
    fs = SimulatedFileSystem()
    compaction = CompactionOptions(events_threshold=5, min_interval_ms=0)
    db = filled(fs, door, compaction=compaction)
    fs.inject("rename", 1, errno.EIO)
    for _ in range(4):
        db.apply_event("d", "go")
    worker = db._worker
    if worker is not None:
        worker.join(10)
    assert db._store.failures == {"snapshot": 1, "compaction": 1, "backup": 0}
    assert db._store.catalog.full == []
    db.apply_event("d", "go")
    worker = db._worker
    if worker is not None:
        worker.join(10)
    assert len(db._store.catalog.full) == 1
    assert db._store.failures["compaction"] == 1


def test_a_snapshot_of_what_is_undone_is_thrown_away(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    store = db._store
    store.apply_event("d", "go")
    fs.inject("pwrite", 1, errno.ENOSPC)
    with pytest.raises(WriteFailed):
        store.run(store.snapshot())
    fs.clear_faults()
    assert [name for name in fs.names("/data/snapshots") if name.endswith(".snap")] == []
    assert store.catalog.full == []
    assert db.get_instance("d").state == "a"
