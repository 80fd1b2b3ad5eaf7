"""Backups: consistent, verified, openable, and taken while writes go on."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from rstmdb_storage import BackupFailed, Database, InvalidBackupTarget
from rstmdb_storage.testing import comparable, open_simulated, simulated_options
from rstmdb_wal.testing import SimulatedCrash, SimulatedFileSystem

SAVED = "/data/saved"


def filled(fs: SimulatedFileSystem, door: dict[str, Any], events: int = 30) -> Database:
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d")
    for n in range(events):
        db.apply_event("d", "go", {"n": n}, idempotency_key=f"k{n}")
    return db


@pytest.mark.parametrize("snapshot", ["none", "compacted", "behind"])
def test_a_backup_opens_as_it_is_without_a_warning(
    door: dict[str, Any], snapshot: str, caplog: pytest.LogCaptureFixture
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    if snapshot != "none":
        db.compact()
    if snapshot == "behind":
        db.apply_event("d", "go", {"n": 77})
    result = db.backup(SAVED)
    state = comparable(db._store.state)
    assert result.name == "saved"
    assert result.wal_offset == db.wal_stats().latest_offset
    index = json.loads(fs.peek(f"{SAVED}/snapshots/index.json"))
    assert len(index["snapshots"]) == (0 if snapshot == "none" else 1)
    files = [*fs.names(f"{SAVED}/wal"), *fs.names(f"{SAVED}/snapshots")]
    assert result.files == len(files)
    db.apply_event("d", "go", {"n": 99})
    copy = open_simulated(fs.power_loss(), path=SAVED)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert comparable(copy._store.state) == state
    assert not copy.apply_event("d", "go", {"n": 3}, idempotency_key="k3").applied
    assert copy.apply_event("d", "go").applied


def test_a_backup_of_an_empty_database_is_an_empty_database() -> None:
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    db.backup(SAVED)
    assert open_simulated(fs, path=SAVED).list_instances().total == 0


def test_names_that_are_no_plain_file_names_are_refused(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    store = db._store
    for name in ("", ".", "..", "../x", "a/b", ".hidden", "x" * 129, "n\0l", "a b"):
        with pytest.raises(InvalidBackupTarget):
            store.run(store.backup(Path("/data"), name))
    store.run(store.backup(Path("/data"), "x" * 128))
    with pytest.raises(InvalidBackupTarget, match="exists already"):
        store.run(store.backup(Path("/data"), "x" * 128))


def test_a_crash_at_any_call_leaves_a_whole_backup_or_none(door: dict[str, Any]) -> None:
    call = 0
    while True:
        call += 1
        fs = SimulatedFileSystem(seed=call)
        db = filled(fs, door, events=10)
        db.snapshot()
        db.apply_event("d", "go")
        state = comparable(db._store.state)
        fs.crash_at = fs.calls + call
        try:
            db.backup(SAVED)
        except SimulatedCrash:
            pass
        else:
            break
        fs = fs.power_loss()
        db = open_simulated(fs)
        assert comparable(db._store.state) == state
        if not fs.exists(Path(SAVED)):
            db.backup(SAVED)
        assert comparable(open_simulated(fs, path=SAVED)._store.state) == state
    assert call > 40


def test_a_backup_of_damaged_files_is_not_called_one(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    path = f"/data/wal/{1:016x}.wal"
    content = bytearray(fs.peek(path))
    content[500] ^= 1
    fs.poke(path, bytes(content))
    with pytest.raises(BackupFailed, match="sequence"):
        db.backup(SAVED)
    assert not fs.exists(Path(SAVED))


def test_a_backup_while_threads_write_is_one_moment_of_them(
    tmp_path: Path, door: dict[str, Any]
) -> None:
    options = simulated_options("never", segment_bytes=4096)
    with Database.open(tmp_path / "data", options) as db:
        db.put_machine("door", 1, door)
        stop = threading.Event()

        def work(number: int) -> None:
            n = 0
            while not stop.is_set():
                with db.batch(atomic=True) as batch:
                    for half in "xy":
                        batch.create_instance("door", 1, instance_id=f"{number}-{n}-{half}")
                n += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        results = []
        for number in range(4):
            results.append(db.backup(tmp_path / f"saved{number}"))
            db.compact(force_snapshot=True)
        stop.set()
        for thread in threads:
            thread.join()
    for number, result in enumerate(results):
        with Database.open(tmp_path / f"saved{number}", options) as copy:
            ids = {i.id for i in copy.list_instances(limit=10_000).instances}
            assert len(ids) % 2 == 0
            assert all(name[:-1] + other in ids for name in ids for other in "xy")
            assert copy._store.recovered.report.head == result.wal_offset


def test_a_database_in_memory_is_backed_up_on_disk(tmp_path: Path, door: dict[str, Any]) -> None:
    with Database.open(":memory:") as db:
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        db.snapshot()
        db.apply_event("d", "go")
        db.backup(tmp_path / "saved")
    with Database.open(tmp_path / "saved") as copy:
        assert copy.get_instance("d").state == "b"
