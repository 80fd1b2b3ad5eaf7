"""Snapshots and their index: damaged, missing, half-written, stale; instances one by one."""

from __future__ import annotations

import errno
import json
from typing import Any

import msgspec
import pytest

from rstmdb_storage import Database, DatabaseDamaged, NewerFormat, SnapshotFailed
from rstmdb_storage._snapshot import SnapshotHeader, decode_blocks, encode_blocks
from rstmdb_storage._snapshot._catalog import KEPT_FULL_SNAPSHOTS
from rstmdb_storage.testing import comparable, open_simulated, simulated_options
from rstmdb_wal.testing import SimulatedFileSystem

INDEX = "/data/snapshots/index.json"


def path_of(snapshot_id: str) -> str:
    return f"/data/snapshots/{snapshot_id}.snap"


def filled(fs: SimulatedFileSystem, door: dict[str, Any]) -> Database:
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    for n in range(4):
        db.create_instance("door", 1, instance_id=f"i{n}", initial_ctx={"n": n})
        db.apply_event(f"i{n}", "go", {"k": "v"}, idempotency_key=f"k{n}")
    db.delete_instance("i0")
    return db


class Case:
    """A closed directory with a snapshot and a few records behind it, copied at will."""

    def __init__(self, door: dict[str, Any], *, compacted: bool) -> None:
        fs = SimulatedFileSystem()
        db = filled(fs, door)
        if compacted:
            for n in range(20):
                db.apply_event("i1", "go", {"n": n})
            self.snapshot_id = _taken(db)
        else:
            self.snapshot_id = db.snapshot().snapshot_id
        db.apply_event("i1", "go", {"late": True})
        self.state = comparable(db._store.state)
        db.close()
        self._fs = fs

    def copy(self) -> SimulatedFileSystem:
        return self._fs.crash()


def _taken(db: Database) -> str:
    assert db.compact().segments_deleted > 0
    return db._store.catalog.full[-1].snapshot_id


def test_what_a_snapshot_holds_begins_the_next_start(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    taken = db.snapshot()
    assert taken.wal_offset == db._store.log.released or db._store.appended == 0
    index = json.loads(fs.peek(INDEX))
    assert index["rstmdb_format"] == 1
    assert index["snapshots"][0]["snapshot_id"] == taken.snapshot_id
    assert index["snapshots"][0]["checksum"] == taken.checksum
    assert index["snapshots"][0]["size_bytes"] == len(fs.peek(path_of(taken.snapshot_id)))
    state = comparable(db._store.state)
    again = open_simulated(fs.power_loss())
    assert again._store.recovered.entries == 0
    assert again._store.recovered.snapshot is not None
    assert comparable(again._store.state) == state


def test_a_damaged_snapshot_is_never_believed(door: dict[str, Any]) -> None:
    """Every byte of it, in turn: the log tells the state where it can, else it is refused."""
    whole, compacted = Case(door, compacted=False), Case(door, compacted=True)
    for case, reaches_back in ((whole, True), (compacted, False)):
        path = path_of(case.snapshot_id)
        content = case.copy().peek(path)
        for at in range(0, len(content), 1 if reaches_back else 9):
            fs = case.copy()
            damaged = bytearray(content)
            damaged[at] ^= 1 << at % 8
            fs.poke(path, bytes(damaged))
            if reaches_back:
                assert comparable(open_simulated(fs)._store.state) == case.state
            elif damaged[6:8] != content[6:8]:
                open_simulated(fs)  # reserved bytes
            else:
                with pytest.raises(DatabaseDamaged, match=r"sequence 1\b|missing"):
                    open_simulated(fs)


def test_a_half_written_snapshot_is_never_believed(door: dict[str, Any]) -> None:
    case = Case(door, compacted=False)
    path = path_of(case.snapshot_id)
    content = case.copy().peek(path)
    for length in range(0, len(content), 7):
        fs = case.copy()
        fs.poke(path, content[:length])
        assert comparable(open_simulated(fs)._store.state) == case.state
        fs = case.copy()
        fs.poke(path, content[:length] + bytes(len(content) - length))
        assert comparable(open_simulated(fs)._store.state) == case.state
    fs = case.copy()
    fs.poke(path, content + b"x")
    assert comparable(open_simulated(fs)._store.state) == case.state


def test_a_damaged_index_is_rebuilt_from_the_files(door: dict[str, Any]) -> None:
    case = Case(door, compacted=True)
    content = case.copy().peek(INDEX)
    for at in range(len(content)):
        fs = case.copy()
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        fs.poke(INDEX, bytes(damaged))
        try:
            again = open_simulated(fs)
        except NewerFormat:
            assert json.loads(bytes(damaged))["rstmdb_format"] != 1
        else:
            assert comparable(again._store.state) == case.state
    for length in range(len(content)):
        fs = case.copy()
        fs.poke(INDEX, content[:length])
        assert comparable(open_simulated(fs)._store.state) == case.state


def test_a_missing_index_is_rebuilt_and_written_by_the_next_snapshot(
    door: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(door, compacted=True)
    fs = case.copy()
    fs.forget(INDEX)
    db = open_simulated(fs)
    assert "index.json is missing; rebuilt" in caplog.text
    assert comparable(db._store.state) == case.state
    taken = db.snapshot()
    listed = [item["snapshot_id"] for item in json.loads(fs.peek(INDEX))["snapshots"]]
    assert listed == [case.snapshot_id, taken.snapshot_id]


def test_a_stale_index_costs_nothing(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db.snapshot()
    stale = fs.peek(INDEX)
    db.apply_event("i1", "go")
    newest = db.snapshot().snapshot_id
    db.apply_event("i1", "go")
    state = comparable(db._store.state)
    fs.poke(INDEX, stale)
    again = open_simulated(fs.crash())
    assert comparable(again._store.state) == state
    assert again._store.recovered.snapshot is not None
    assert again._store.recovered.snapshot.snapshot_id == newest


def test_a_missing_snapshot_falls_back_to_an_older_one(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    older = db.snapshot().snapshot_id
    db.apply_event("i1", "go")
    newest = db.snapshot().snapshot_id
    state = comparable(db._store.state)
    fs = fs.crash()
    fs.forget(path_of(newest))
    again = open_simulated(fs)
    assert comparable(again._store.state) == state
    assert again._store.recovered.snapshot is not None
    assert again._store.recovered.snapshot.snapshot_id == older


def test_a_file_under_anothers_name_is_not_used(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    older = db.snapshot().snapshot_id
    db.apply_event("i1", "go")
    newest = db.snapshot().snapshot_id
    state = comparable(db._store.state)
    fs = fs.crash()
    fs.poke(path_of(newest), fs.peek(path_of(older)))
    again = open_simulated(fs)
    assert comparable(again._store.state) == state
    assert [info.snapshot_id for info in again._store.catalog.unusable] == [newest]
    again.snapshot()
    assert f"{newest}.snap" not in fs.names("/data/snapshots")


def test_a_snapshot_of_another_database_is_passed_over(door: dict[str, Any]) -> None:
    fs, other = SimulatedFileSystem(), SimulatedFileSystem()
    db = filled(fs, door)
    ours = db.snapshot().snapshot_id
    state = comparable(db._store.state)
    stranger = filled(other, door)
    for n in range(30):
        stranger.apply_event("i1", "go", {"n": n})
    foreign = stranger.snapshot().snapshot_id
    fs = fs.crash()
    fs.poke(path_of(foreign), other.peek(path_of(foreign)))
    for options in (simulated_options(), simulated_options(recovery="skip_corrupt")):
        again = open_simulated(fs, options)
        assert comparable(again._store.state) == state
        assert again._store.recovered.snapshot is not None
        assert again._store.recovered.snapshot.snapshot_id == ours
        assert again._store.recovered.report.damaged_segments == []
        fs = fs.crash()


def test_a_log_that_ends_before_a_whole_snapshot_is_refused(door: dict[str, Any]) -> None:
    """Never a start from less than what a snapshot proves, though the log alone looks torn."""
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    taken = db.snapshot()
    fs = fs.crash()
    path = f"/data/wal/{taken.wal_offset >> 40:016x}.wal"
    fs.poke(path, fs.peek(path)[: (taken.wal_offset & 0xFFFFFFFF) - 10])
    with pytest.raises(DatabaseDamaged, match="the snapshot's last record is not there"):
        open_simulated(fs)


def test_a_newer_format_is_said_so_and_refused(door: dict[str, Any]) -> None:
    case = Case(door, compacted=False)
    fs = case.copy()
    content = bytearray(fs.peek(path_of(case.snapshot_id)))
    content[5] = 2
    fs.poke(path_of(case.snapshot_id), bytes(content))
    fs.forget(INDEX)
    with pytest.raises(NewerFormat, match="format 2 was written by a newer release"):
        open_simulated(fs)
    fs = case.copy()
    fs.poke(INDEX, b'{"rstmdb_format": 2, "snapshots": []}')
    with pytest.raises(NewerFormat, match="newer release"):
        open_simulated(fs)


def test_leftovers_of_a_crash_are_removed_and_files_of_others_are_not(
    door: dict[str, Any],
) -> None:
    case = Case(door, compacted=False)
    fs = case.copy()
    fs.poke("/data/snapshots/snap-1.snap.tmp", b"half")
    fs.poke("/data/snapshots/notes.txt", b"mine")
    fs.poke("/data/snapshots/odd.snap", b"what is this")
    assert comparable(open_simulated(fs)._store.state) == case.state
    names = fs.names("/data/snapshots")
    assert "snap-1.snap.tmp" not in names
    assert {"notes.txt", "odd.snap"} <= set(names)


def test_old_snapshots_go_when_new_ones_are_listed(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db.snapshot_instance("i1")
    db.snapshot_instance("i1")
    kinds = [info.kind for info in db._store.catalog.snapshots]
    assert kinds == ["instance"]
    taken = []
    for _ in range(4):
        db.apply_event("i1", "go")
        taken.append(db.snapshot().snapshot_id)
    assert [i.snapshot_id for i in db._store.catalog.snapshots] == taken[-KEPT_FULL_SNAPSHOTS:]
    files = [name for name in fs.names("/data/snapshots") if name.endswith(".snap")]
    assert sorted(files) == sorted(f"{name}.snap" for name in taken[-KEPT_FULL_SNAPSHOTS:])


def test_one_instance_is_written_in_the_same_format(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    result = db.snapshot_instance("i2")
    data = fs.peek(path_of(result.snapshot_id))
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        position += size
        return data[position - size : position]

    (_, header), (section, rows) = decode_blocks(read, "it")
    assert msgspec.convert(header[0], SnapshotHeader).instance_id == "i2"
    assert (section, rows[0][0], rows[0][3]) == ("instances", "i2", "b")
    assert json.loads(rows[0][4]) == {"n": 2, "k": "v"}
    assert result.wal_offset == db.get_instance("i2").last_wal_offset
    assert len(data) == result.size_bytes


@pytest.mark.parametrize(
    "operation", ["create", "pwrite", "fsync", "rename", "fsync_dir", "pread", "close"]
)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_snapshot_that_fails_is_counted_harmless_and_tried_again(
    door: dict[str, Any], operation: str, error: int
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db.snapshot()
    db.apply_event("i1", "go")
    state = comparable(db._store.state)
    failed = 0
    for call in range(1, 12):
        fs.inject(operation, call, error)
        try:
            db.compact(force_snapshot=True)
        except SnapshotFailed:
            failed += 1
            assert db._store.failures["snapshot"] == failed
            assert not [name for name in fs.names("/data/snapshots") if name.endswith(".tmp")]
            assert comparable(open_simulated(fs.crash())._store.state) == state
            break
        except OSError:
            break  # of the log's own directory, after the snapshot was relied on
        finally:
            fs.clear_faults()
    assert failed
    fs = fs.crash()
    db = open_simulated(fs)
    db.apply_event("i1", "go")
    state = comparable(db._store.state)
    assert db.compact().snapshots_created == 1
    assert comparable(open_simulated(fs.power_loss())._store.state) == state


def test_no_snapshot_is_written_over_another(door: dict[str, Any]) -> None:
    """Same offset, same time, after a restart."""
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d")
    full = db.snapshot()
    fs = fs.power_loss()
    db = open_simulated(fs)
    one = db.snapshot_instance("d")
    assert one.wal_offset == full.wal_offset
    assert one.snapshot_id != full.snapshot_id
    state = comparable(db._store.state)
    db.compact()
    assert comparable(open_simulated(fs.power_loss())._store.state) == state


def test_blocks_read_back_as_they_were_written() -> None:
    header = SnapshotHeader("snap-1", "full", b"i" * 16, 77, 5, 1, 1_700_000_000_000)
    sections: list[tuple[str, list[Any]]] = [("a", [1, "two", None]), ("a", [b"3"]), ("b", [])]
    data = b"".join(encode_blocks(header, sections))
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        position += size
        return data[position - size : position]

    found = list(decode_blocks(read, "it"))
    assert msgspec.convert(found[0][1][0], SnapshotHeader) == header
    assert found[1:] == [("a", [1, "two", None]), ("a", [b"3"]), ("b", [])]
    for length in range(len(data)):
        position = 0
        cut, data = data, data[:length]
        with pytest.raises(DatabaseDamaged, match="it"):
            list(decode_blocks(read, "it"))
        data = cut
