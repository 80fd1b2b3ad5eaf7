"""Tools for stopped databases: verify, repair, dump, stats, restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

import rstmdb_core as core
from rstmdb_storage import (
    Database,
    DatabaseDamaged,
    DatabaseLocked,
    InstanceExists,
    InvalidBackupTarget,
    Rejection,
    RestoreFailed,
)
from rstmdb_storage.offline import (
    database_stats,
    dump_database,
    repair_database,
    restore_backup,
    verify_database,
)
from rstmdb_storage.testing import Clock, comparable, open_simulated
from rstmdb_wal.testing import SimulatedCrash, SimulatedFileSystem

DIR = "/data"


def segment(number: int) -> str:
    return f"/data/wal/{number:016x}.wal"


def filled(fs: SimulatedFileSystem, door: dict[str, Any], *, compacted: bool = False) -> Database:
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    for n in range(3):
        db.create_instance("door", 1, instance_id=f"i{n}", initial_ctx={"n": n})
    for n in range(20):
        db.apply_event(f"i{n % 3}", "go", {"n": n}, idempotency_key=f"k{n}")
    if compacted:
        db.compact()
    db.delete_instance("i2")
    db.apply_event("i0", "go", {"last": True})
    return db


def damaged(fs: SimulatedFileSystem, number: int, at: int) -> None:
    content = bytearray(fs.peek(segment(number)))
    content[at] ^= 4
    fs.poke(segment(number), bytes(content))


def images(fs: SimulatedFileSystem) -> dict[str, bytes]:
    return {
        f"{folder}/{name}": fs.peek(f"{folder}/{name}")
        for folder in ("/data/wal", "/data/snapshots")
        for name in fs.names(folder)
    }


# -- verify -------------------------------------------------------------------------------


@pytest.mark.parametrize("compacted", [False, True])
def test_verify_tells_what_is_there_and_changes_nothing(
    door: dict[str, Any], compacted: bool
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, compacted=compacted)
    digest = db._store.state.digest()
    segments = db.wal_stats().segment_count
    fs = fs.crash()
    before = images(fs)
    told: list[tuple[int, int]] = []
    report = verify_database(DIR, fs=fs, progress=lambda done, total: told.append((done, total)))
    assert report.healthy
    assert report.opens
    assert (report.machines, report.instances, report.ignored) == (1, 2, {})
    assert report.state == digest
    assert report.records == report.readable == sum(report.kinds.values())
    assert report.last_sequence - report.first_sequence + 1 == report.records
    assert report.segments == segments
    assert report.last_offset > report.first_offset > 0
    assert report.lost == 0
    assert [s.problem for s in report.snapshots] == ([None] if compacted else [])
    assert told[-1][0] == told[-1][1] >= report.log_bytes
    assert told == sorted(told)
    if not compacted:
        assert (report.first_sequence, report.records) == (1, 26)
        assert report.kinds["apply_event"] == 21
    assert images(fs) == before


def test_verify_agrees_with_a_start_on_any_damage(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door, compacted=False).close()
    numbers = [int(name[:16], 16) for name in fs.names("/data/wal")]
    for number in (numbers[0], numbers[-1]):
        for at in range(0, len(fs.peek(segment(number))), 23):
            copy = fs.crash()
            damaged(copy, number, at)
            report = verify_database(DIR, fs=copy)
            assert report.opens == (not report.damage)
            copy = copy.crash()
            if report.opens:
                assert open_simulated(copy)._store.recovered.report.torn_bytes == report.torn_bytes
            else:
                assert report.refusal in report.damage
                assert segment(number) in (report.refusal or "")
                assert report.readable + report.lost >= 23
                with pytest.raises(DatabaseDamaged):
                    open_simulated(copy)


def test_verify_names_damaged_snapshots_and_what_they_cover(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    taken = db.snapshot()
    db.close()
    path = f"/data/snapshots/{taken.snapshot_id}.snap"
    copy = fs.crash()
    copy.poke(path, copy.peek(path)[:-4])
    report = verify_database(DIR, fs=copy)
    assert report.opens
    assert not report.healthy
    assert path in (report.snapshots[0].problem or "")
    copy = fs.crash()
    damaged(copy, 1, 700)
    report = verify_database(DIR, fs=copy)
    assert report.opens, "the snapshot covers it"
    assert not report.healthy
    assert report.damage


def test_verify_of_what_is_no_database_and_of_one_in_use(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    with pytest.raises(DatabaseDamaged, match="no database"):
        verify_database("/data/none", fs=fs)
    filled(fs, door)
    with pytest.raises(DatabaseLocked):
        verify_database(DIR, fs=fs)
    fs = fs.crash()
    fs.inject("lock", 1, 30)
    assert verify_database(DIR, fs=fs).healthy, "a read-only directory can be looked at"
    fs.poke("/data/snapshots/index.json", b'{"rstmdb_format": 9}')
    report = verify_database(DIR, fs=fs)
    assert not report.opens
    assert "newer release" in (report.refusal or "")


# -- stats and dump -----------------------------------------------------------------------


def test_stats_count(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, compacted=True)
    db.close()
    stats = database_stats(DIR, fs=fs)
    assert stats.machines == {"door": [1]}
    assert stats.instances == 2
    assert sum(stats.states["door"].values()) == 2
    assert (stats.tombstones, stats.idempotency_keys, stats.snapshots) == (1, 20, 1)
    assert stats.segments == len(fs.names("/data/wal"))
    assert stats.last_timestamp == 1_700_000_000_000


def test_a_dump_is_json_and_whole(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    lines = [json.loads(json.dumps(shown)) for shown in dump_database(DIR, fs=fs)]
    assert [line["sequence"] for line in lines] == list(range(1, 28))
    assert {line["record"] for line in lines} == {"entry"}
    assert lines[0]["entry"]["machine"] == "door"
    assert lines[-2]["entry"]["ctx"]["last"] is True
    assert lines[-1]["entry"]["type"] == "checkpoint"


def test_a_dump_of_a_compacted_database_begins_with_its_snapshot(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door, compacted=True).close()
    lines = list(dump_database(DIR, fs=fs))
    kinds = [line["record"] for line in lines]
    assert kinds[:5] == ["snapshot", "machine", "instance", "instance", "instance"]
    assert set(kinds[5:]) == {"entry"}
    shown = {line["instance_id"]: line for line in lines if line["record"] == "instance"}
    assert shown["i1"]["ctx"] == {"n": 19}
    json.dumps(lines)


def test_a_dump_stops_at_damage_or_steps_over_it(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db._store.log.append(3, b"\xc1")
    db.close()
    damaged(fs, 2, 400)
    reading = dump_database(DIR, fs=fs)
    assert next(reading)["sequence"] == 1
    with pytest.raises(DatabaseDamaged, match=segment(2)):
        list(reading)
    sequences = [shown["sequence"] for shown in dump_database(DIR, fs=fs, skip_damage=True)]
    assert sequences[0] == 1
    assert len(sequences) < sequences[-1] == 28
    malformed = [s for s in dump_database(DIR, fs=fs, skip_damage=True) if "malformed" in s]
    assert [s["malformed"] for s in malformed] == ["c1"]


# -- repair -------------------------------------------------------------------------------


def test_repair_cuts_before_the_first_damage_and_saves_the_rest(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    number_of_segments = len(fs.names("/data/wal"))
    damaged(fs, 2, 400)
    before = images(fs)
    refused = verify_database(DIR, fs=fs)
    report = repair_database(DIR, "cut", fs=fs)
    assert report.last_sequence == refused.last_sequence < 20
    assert len(report.saved) == number_of_segments - 1
    cut = fs.peek(segment(2))
    saved = fs.peek(f"{segment(2)}.1.broken")
    assert cut + saved == before[segment(2)]
    for number in range(3, number_of_segments + 1):
        assert fs.peek(f"{segment(number)}.1.broken") == before[segment(number)]
    after = verify_database(DIR, fs=fs)
    assert after.healthy
    db = open_simulated(fs)
    assert db.apply_event("i1", "go").wal_offset >> 40 > number_of_segments
    state = core.State()
    for shown in dump_database(DIR, fs=fs.crash()):
        assert shown["sequence"] <= report.last_sequence + 3
    assert state.ignored.total() == 0


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize("damages", [0, 1, 2])
def test_a_repair_tells_how_far_it_is(
    door: dict[str, Any], how: Literal["cut", "skip"], damages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rstmdb_storage._follow as module

    monkeypatch.setattr(module, "PROGRESS_EVERY_BYTES", 300)
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    for number in range(3, 3 - damages, -1):
        damaged(fs, number, 400)
    told: list[tuple[int, int]] = []
    repair_database(DIR, how, fs=fs, progress=lambda done, total: told.append((done, total)))
    assert len(told) > 3
    assert all(0 <= done <= total for done, total in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] > 0


def test_repair_skips_damage_and_saves_the_segment(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    damaged(fs, 2, 400)
    before = fs.peek(segment(2))
    report = repair_database(DIR, "skip", fs=fs)
    assert report.skipped_records > 0
    assert report.saved == [f"{2:016x}.wal.1.broken"]
    assert fs.peek(f"{segment(2)}.1.broken") == before
    assert verify_database(DIR, fs=fs).opens
    assert open_simulated(fs).get_instance("i0").ctx["last"] is True


def test_repair_of_a_missing_segment_and_of_nothing(door: dict[str, Any]) -> None:
    hows: tuple[Literal["cut", "skip"], ...] = ("cut", "skip")
    for how in hows:
        fs = SimulatedFileSystem()
        filled(fs, door)
        healthy, fs = fs.crash(), fs.crash()
        fs.forget(segment(2))
        repair_database(DIR, how, fs=fs)
        assert verify_database(DIR, fs=fs).opens
        report = repair_database(DIR, how, fs=healthy)
        assert report.saved == []
        assert open_simulated(healthy).list_instances().total == 2


def test_a_log_that_ends_before_its_snapshot_goes_and_the_snapshot_stays(
    door: dict[str, Any],
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    last = db.snapshot().wal_offset >> 40
    state = comparable(db._store.state)
    fs = fs.crash()
    fs.poke(segment(last), fs.peek(segment(last))[:140])
    assert "snapshot's last record" in (verify_database(DIR, fs=fs).refusal or "")
    repair_database(DIR, fs=fs, clock=Clock())
    assert comparable(open_simulated(fs)._store.state) == state


def test_repair_says_where_it_cannot_help(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, compacted=True)
    name = db._store.catalog.full[-1].snapshot_id
    db.close()
    fs.forget(f"/data/snapshots/{name}.snap")
    before = images(fs)
    with pytest.raises(DatabaseDamaged):
        repair_database(DIR, "cut", fs=fs)
    assert images(fs) == before


def test_a_crash_at_any_call_of_a_repair_can_be_repaired(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    damaged(fs, 2, 400)
    whole = fs.crash()
    expected = repair_database(DIR, fs=whole).last_sequence
    call = 0
    while True:
        call += 1
        copy = SimulatedFileSystem(call)
        copy.mkdir_now("/data/wal")
        copy.mkdir_now("/data/snapshots")
        for path, content in images(fs).items():
            copy.poke(path, content)
        copy.crash_at = copy.calls + call
        try:
            repair_database(DIR, fs=copy)
        except SimulatedCrash:
            pass
        else:
            break
        copy = copy.power_loss()
        repair_database(DIR, fs=copy)
        report = verify_database(DIR, fs=copy)
        assert report.healthy
        assert report.last_sequence in (expected, expected + 1, expected + 2)
    assert call > 30


# -- restore ------------------------------------------------------------------------------


@pytest.mark.parametrize("compacted", [False, True])
def test_restore_makes_a_database_of_its_own(door: dict[str, Any], compacted: bool) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, compacted=compacted)
    with db.batch(atomic=True) as batch:
        batch.create_instance("door", 1, instance_id="x")
        batch.apply_event("x", "go", {"in": "batch"})
    db.backup("/data/saved")
    source = {i.id: db.get_instance(i.id) for i in db.list_instances().instances}
    head = db.wal_stats().latest_offset
    db.close()
    result = restore_backup("/data/saved", "/data/new", fs=fs)
    assert result.source_offset == head
    assert (result.machines, result.instances) == (1, 3)
    report = verify_database("/data/new", fs=fs)
    assert report.healthy
    assert report.database_id == result.database_id
    assert report.database_id != verify_database("/data/saved", fs=fs).database_id
    new = open_simulated(fs, path="/data/new")
    for name, before in source.items():
        after = new.get_instance(name)
        assert (after.state, after.ctx, after.created_at, after.updated_at) == (
            before.state,
            before.ctx,
            before.created_at,
            before.updated_at,
        )
    assert [i.id for i in new.list_instances().instances] == list(source)
    assert not new.apply_event("i1", "go", {"n": 19}, idempotency_key="k19").applied
    applied = new.apply_event("i1", "go")
    assert applied.wal_offset > head
    state = comparable(new._store.state)
    new.compact()
    assert comparable(open_simulated(fs.power_loss(), path="/data/new")._store.state) == state


def test_restored_entries_name_the_one_before_by_its_new_offset(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db.compact()
    for _ in range(3):
        db.apply_event("i0", "go")
    db.close()
    restore_backup(DIR, "/data/new", fs=fs)
    entries = [e for e in dump_database("/data/new", fs=fs) if e["record"] == "entry"]
    chain = [
        (e["entry"]["prev_offset"], e["offset"])
        for e in entries
        if e["entry"].get("instance_id") == "i0"
    ]
    assert len(chain) >= 3
    assert [previous for previous, _ in chain[1:]] == [offset for _, offset in chain[:-1]]


@pytest.mark.parametrize("compacted", [False, True])
def test_restored_offsets_are_higher_than_any_of_the_source(
    door: dict[str, Any], compacted: bool
) -> None:
    """Also of a source that went on beyond the offset, or that has segments set aside."""
    fs = SimulatedFileSystem()
    db = filled(fs, door, compacted=compacted)
    to_offset = db.wal_stats().latest_offset
    for _ in range(30):
        head = db.apply_event("i0", "go").wal_offset
    db.close()
    fs.poke(f"{segment(99)}.1.broken", b"set aside by an earlier start")
    restore_backup(DIR, "/data/new", to_offset=to_offset, fs=fs)
    with open_simulated(fs, path="/data/new") as new:
        written = [record.offset for record in new.wal_read(0).records]
        assert written
        assert new.apply_event("i1", "go").wal_offset >> 40 > 99
    assert min(written) > head
    assert min(written) >> 40 == 100


@pytest.mark.parametrize("compacted", [False, True])
def test_restore_can_begin_with_small_offsets_again(door: dict[str, Any], compacted: bool) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, compacted=compacted)
    with db.batch(atomic=True) as batch:
        batch.put_machine("other", 4, door)
        batch.create_instance("other", 4, instance_id="x")
    db.put_machine("other", 2, door)
    before = {i.id: db.get_instance(i.id) for i in db.list_instances().instances}
    lists = [[i.id for i in db.list_instances(state=state).instances] for state in "abc"]
    kept = comparable(core.renumbered(db._store.state))
    db.close()
    result = restore_backup(DIR, "/data/new", renumber=True, fs=fs)
    assert result.source_offset >= max(view.last_wal_offset for view in before.values())
    assert verify_database("/data/new", fs=fs).healthy
    with open_simulated(fs, path="/data/new") as new:
        assert comparable(new._store.state) == kept
        for name, was in before.items():
            now = new.get_instance(name)
            assert (now.state, now.ctx, now.version) == (was.state, was.ctx, was.version)
            assert now.last_wal_offset < 1 << 40
        assert [
            [i.id for i in new.list_instances(state=state).instances] for state in "abc"
        ] == lists
        assert new.get_machine("other").version == 2
        assert not new.apply_event("i1", "go", {"n": 19}, idempotency_key="k19").applied
        with pytest.raises(InstanceExists):
            new.create_instance("door", 1, instance_id="i2")  # its tombstone came along
        assert new.wal_stats().earliest_offset < 1 << 41
        assert new.apply_event("i1", "go").wal_offset >> 40 <= 2
        new.compact()
    assert verify_database("/data/new", fs=fs).healthy
    # And once more from there: what was renumbered is a source like any other.
    restore_backup("/data/new", "/data/newer", renumber=True, fs=fs)
    with open_simulated(fs, path="/data/newer") as newer:
        assert newer.get_instance("i1").last_wal_offset < 1 << 40


def test_an_empty_database_can_be_renumbered_and_restored_to_an_offset(
    door: dict[str, Any],
) -> None:
    fs = SimulatedFileSystem()
    open_simulated(fs).close()
    restore_backup(DIR, "/data/empty", renumber=True, fs=fs)
    with open_simulated(fs, path="/data/empty") as empty:
        assert empty.list_instances().total == 0
        empty.put_machine("door", 1, door)
        first = empty.create_instance("door", 1, instance_id="d").wal_offset
        empty.delete_instance("d")
    restore_backup("/data/empty", "/data/then", to_offset=first, renumber=True, fs=fs)
    with open_simulated(fs, path="/data/then") as then:
        assert then.get_instance("d").state == "a"


def test_restore_to_each_offset_is_that_moment(door: dict[str, Any]) -> None:
    """Point in time; an offset within an atomic batch leaves the whole batch out."""
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    moments: list[tuple[int, Any]] = []

    def note() -> None:
        items = [db.get_instance(i.id) for i in db.list_instances().instances]
        moments.append(
            (db.wal_stats().latest_offset, [(i.instance_id, i.state, i.ctx) for i in items])
        )

    note()
    db.create_instance("door", 1, instance_id="d")
    note()
    for n in range(8):
        db.apply_event("d", "go", {"n": n})
        note()
    with db.batch(atomic=True) as batch:
        for n in range(3):
            batch.create_instance("door", 1, instance_id=f"b{n}")
    inside = [result.wal_offset for result in batch.results]
    note()
    db.apply_event("d", "go")
    note()
    db.close()
    wanted = [*moments, *((offset, moments[-3][1]) for offset in inside[:-1])]
    for number, (offset, expected) in enumerate(wanted):
        target = f"/data/at{number}"
        restore_backup(DIR, target, to_offset=offset, fs=fs)
        restored = open_simulated(fs, path=target)
        items = [restored.get_instance(i.id) for i in restored.list_instances().instances]
        assert [(i.instance_id, i.state, i.ctx) for i in items] == expected
        restored.close()
    restore_backup(DIR, "/data/beyond", to_offset=1 << 60, fs=fs)


def test_restore_to_before_what_is_kept_is_refused(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door, compacted=True).close()
    with pytest.raises(RestoreFailed):
        restore_backup(DIR, "/data/new", to_offset=(1 << 40) + 200, fs=fs)
    assert not fs.exists(Path("/data/new"))


def test_restore_needs_an_empty_target_and_an_undamaged_source(
    door: dict[str, Any], tmp_path: Path
) -> None:
    with Database.open(tmp_path / "data") as db:
        db.put_machine("door", 1, door)
        db.backup(tmp_path / "saved")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    restore_backup(tmp_path / "saved", tmp_path / "empty")
    with Database.open(tmp_path / "empty") as db:
        assert db.get_machine("door").version == 1
    with pytest.raises(InvalidBackupTarget, match="not empty"):
        restore_backup(tmp_path / "saved", tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    damaged(fs, 2, 400)
    with pytest.raises(DatabaseDamaged):
        restore_backup(DIR, "/data/new", fs=fs)
    assert not fs.exists(Path("/data/new"))
    assert fs.exists(Path(segment(2)))


def test_a_crash_at_any_call_of_a_restore_leaves_a_whole_target_or_none(
    door: dict[str, Any],
) -> None:
    call = 0
    while True:
        call += 1
        fs = SimulatedFileSystem(call)
        db = filled(fs, door, compacted=True)
        db.close()
        expected = [i.id for i in open_simulated(fs).list_instances().instances]
        fs = fs.crash()
        fs.crash_at = fs.calls + call
        try:
            restore_backup(DIR, "/data/new", fs=fs)
        except SimulatedCrash:
            pass
        else:
            break
        fs = fs.power_loss()
        if not fs.exists(Path("/data/new")):
            restore_backup(DIR, "/data/new", fs=fs)
        new = open_simulated(fs, path="/data/new")
        assert [i.id for i in new.list_instances().instances] == expected
    assert call > 40


def test_a_batch_larger_than_what_is_left_of_a_segment_is_restored(
    door: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import rstmdb_storage.offline._restore as module
    from rstmdb_wal import LogOptions

    monkeypatch.setattr(
        module, "LogOptions", lambda **options: LogOptions(segment_bytes=1024, **options)
    )
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    with db.batch(atomic=True) as batch:
        for n in range(30):
            batch.create_instance("door", 1, instance_id=f"b{n}")
    db.close()
    restore_backup(DIR, "/data/new", fs=fs)
    new = open_simulated(fs, path="/data/new")
    assert new.list_instances().total == 32
    with pytest.raises(Rejection):
        new.create_instance("door", 1, instance_id="b29")
