"""Crashes at every call, and what a start makes of what it finds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rstmdb_core as core
from rstmdb_core import Limits
from rstmdb_storage import Conflict, Database, DatabaseDamaged, Rejection, StorageOptions
from rstmdb_storage.testing import Clock, comparable, open_simulated, simulated_options
from rstmdb_wal import KIND_APPLY_EVENT, Recovery
from rstmdb_wal.testing import SimulatedCrash, SimulatedFileSystem

WAL = "/data/wal"
DAY_MS = 86_400_000


def filled(fs: SimulatedFileSystem, door: dict[str, Any], events: int = 12) -> Database:
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d", initial_ctx={"n": 1}, idempotency_key="c")
    for n in range(events):
        db.apply_event("d", "go", {"n": n}, idempotency_key=f"k{n}")
    return db


def script(door: dict[str, Any]) -> list[tuple[str, Callable[[Database], Any]]]:
    """A workload in steps, each acknowledged before the next."""
    steps: list[tuple[str, Callable[[Database], Any]]] = [
        ("put", lambda db: db.put_machine("door", 1, door)),
        ("create", lambda db: db.create_instance("door", 1, instance_id="d", initial_ctx={"n": 3})),
        ("event", lambda db: db.apply_event("d", "go", {"n": 9}, idempotency_key="k")),
        ("refused", lambda db: refused(lambda: db.apply_event("d", "fly"))),
        ("batch", lambda db: batch(db, range(6))),
        ("snapshot", lambda db: db.snapshot()),
        ("event", lambda db: db.apply_event("d", "go")),
        ("one", lambda db: db.snapshot_instance("d")),
        ("delete", lambda db: db.delete_instance("i3")),
        ("compact", lambda db: db.compact()),
        ("batch", lambda db: batch(db, range(10, 22))),
        ("backup", lambda db: db.backup("/data/saved")),
        ("event", lambda db: db.apply_event("d", "stay")),
        ("compact", lambda db: db.compact(force_snapshot=True)),
        ("event", lambda db: db.apply_event("i10", "go")),
        ("close", lambda db: db.close()),
    ]
    return steps


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(Rejection):
        call()


def batch(db: Database, numbers: range) -> None:
    with db.batch(atomic=True) as collected:
        for number in numbers:
            collected.create_instance("door", 1, instance_id=f"i{number}")
            collected.apply_event(f"i{number}", "go", {"n": number})


def expected_states(door: dict[str, Any]) -> list[bytes]:
    """The state after each step of the script, the empty one first."""
    db = open_simulated(SimulatedFileSystem(), clock=Clock())
    states = [comparable(db._store.state)]
    for _, step in script(door):
        step(db)
        states.append(comparable(db._store.state))
    return states


@pytest.mark.parametrize("lose", [False, True], ids=["process", "power"])
def test_a_crash_at_any_call_loses_nothing(door: dict[str, Any], lose: bool) -> None:
    """At every file-system call of opening, writing, snapshots, compaction, backup, closing."""
    states = expected_states(door)
    steps = script(door)
    call = 0
    while True:
        call += 1
        fs = SimulatedFileSystem(seed=call)
        fs.crash_at = call
        done = 0
        try:
            db = open_simulated(fs, clock=Clock())
            for _, step in steps:
                step(db)
                done += 1
        except SimulatedCrash:
            pass
        else:
            break
        after = fs.power_loss() if lose else fs.crash()
        again = open_simulated(after, clock=Clock())
        found = comparable(again._store.state)
        assert found in states[done : done + 2], (call, steps[done][0])
        again.put_machine("later", 1, door)
        again.compact()
        again.close()
        after = after.power_loss()
        reopened = open_simulated(after, clock=Clock())
        assert reopened.get_machine("later").version == 1
        if after.exists(Path("/data/saved")):
            saved = open_simulated(after, path="/data/saved", clock=Clock())
            assert comparable(saved._store.state) in states
    assert call > 250


def test_a_crash_in_recovery_is_recovered_from(door: dict[str, Any]) -> None:
    for seed in range(40):
        fs = SimulatedFileSystem(seed)
        db = filled(fs, door)
        state = comparable(db._store.state)
        fs = fs.power_loss()
        for call in range(1, 400):
            fs.crash_at = fs.calls + 1 + (call * 7 + seed) % 60
            try:
                again = open_simulated(fs)
            except SimulatedCrash:
                fs = fs.power_loss() if call % 2 else fs.crash()
                continue
            break
        assert comparable(again._store.state) == state


@pytest.mark.parametrize("policy", ["never", "every_n:5"])
def test_a_power_loss_leaves_a_prefix_within_the_window(door: dict[str, Any], policy: str) -> None:
    lost = set()
    for seed in range(120):
        fs = SimulatedFileSystem(seed)
        db = open_simulated(fs, simulated_options(policy, segment_bytes=4096))
        db.put_machine("door", 1, door)
        db.create_instance("door", 1, instance_id="d")
        last = 24 + seed % 7
        for n in range(last + 1):
            db.apply_event("d", "go", {"n": n})
        again = open_simulated(fs.power_loss(), simulated_options(policy))
        try:
            found = again.get_instance("d").ctx.get("n", -1)
        except Rejection:
            found = -1
        lost.add(last - found)
    assert max(lost) > 0
    if policy != "never":
        assert max(lost) <= 4


def test_the_last_record_cut_at_each_byte_starts_without_it(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d", initial_ctx={"n": 1})
    before = comparable(db._store.state)
    last = db._store.log.next_offset & 0xFFFFFFFF
    db.apply_event("d", "go", {"text": "x" * 40})
    end = db._store.log.next_offset & 0xFFFFFFFF
    whole = comparable(db._store.state)
    path = f"{WAL}/{1:016x}.wal"
    content = fs.peek(path)
    for cut in range(last, end + 1):
        for tail in (b"", bytes(100), b"\xff" * 100):
            copy = fs.crash()
            copy.poke(path, content[:cut] + tail)
            again = open_simulated(copy)
            assert comparable(again._store.state) == (whole if cut == end else before)
            assert again._store.recovered.report.torn_bytes == 0 or cut > last or tail
            assert again.apply_event("d", "go").applied


def test_a_flipped_bit_is_refused_with_its_place_or_cut_as_torn(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, events=25)
    state = comparable(db._store.state)
    ids = [number for number, _, _ in db._store.log.segments()]
    db._store.close()
    for number in (ids[0], ids[-1]):
        path = f"{WAL}/{number:016x}.wal"
        content = fs.peek(path)
        for at in range(0, len(content), 5):
            copy = fs.crash()
            flipped = bytearray(content)
            flipped[at] ^= 1 << at % 8
            copy.poke(path, bytes(flipped))
            refused = None
            try:
                again = open_simulated(copy)
            except DatabaseDamaged as error:
                refused = str(error)
            if refused is None:
                assert comparable(again._store.state) == state, "only a checkpoint was cut"
            else:
                assert path in refused


@pytest.mark.parametrize("how", ["missing", "swapped", "foreign", "doubled"])
def test_segments_that_do_not_belong_are_refused_unless_snapshots_cover_them(
    door: dict[str, Any], how: str
) -> None:
    def spoil(fs: SimulatedFileSystem) -> None:
        first, second = f"{WAL}/{1:016x}.wal", f"{WAL}/{2:016x}.wal"
        if how == "missing":
            fs.forget(second)
        elif how == "swapped":
            one, two = fs.peek(first), fs.peek(second)
            fs.poke(first, two)
            fs.poke(second, one)
        elif how == "foreign":
            other = SimulatedFileSystem()
            filled(other, door, events=25).close()
            fs.poke(second, other.peek(second))
        else:
            fs.poke(second, fs.peek(first))

    fs = SimulatedFileSystem()
    db = filled(fs, door, events=25)
    spoiled = fs.crash()
    spoil(spoiled)
    with pytest.raises(DatabaseDamaged, match=r"sequence \d+"):
        open_simulated(spoiled)
    fs = fs.crash()
    db = open_simulated(fs)
    state = comparable(db._store.state)
    db.snapshot()
    db.close()
    spoil(fs)
    again = open_simulated(fs)
    assert comparable(again._store.state) == state


def test_an_empty_log_is_no_empty_database_where_a_snapshot_says_otherwise(
    door: dict[str, Any],
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    info = db.snapshot()
    state = comparable(db._store.state)
    db.close()
    for name in fs.names(WAL):
        fs.forget(f"{WAL}/{name}")
    survivor = fs.crash()
    assert comparable(open_simulated(survivor)._store.state) == state, "the snapshot is whole"
    fs = fs.crash()
    path = f"/data/snapshots/{info.snapshot_id}.snap"
    fs.poke(path, fs.peek(path)[:-1])
    with pytest.raises(DatabaseDamaged, match="can't be used"):
        open_simulated(fs)


def test_a_read_error_is_never_an_empty_database(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    for operation in ("listdir", "open_read", "pread", "size", "exists"):
        for call in range(1, 12):
            copy = fs.crash()
            fs = fs.crash()
            copy.inject(operation, call, 5)
            try:
                db = open_simulated(copy)
            except OSError:
                continue
            assert db.get_instance("d").ctx == {"n": 11}


def test_damage_can_be_skipped_and_the_next_start_is_clean(
    door: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, events=25)
    db.close()
    path = f"{WAL}/{2:016x}.wal"
    content = bytearray(fs.peek(path))
    content[300] ^= 1
    fs.poke(path, bytes(content))
    with pytest.raises(DatabaseDamaged, match="skip_corrupt"):
        open_simulated(fs.crash())
    fs = fs.crash()
    skipping = simulated_options(recovery="skip_corrupt")
    db = open_simulated(fs, skipping)
    report = db._store.recovered.report
    assert report.skipped_records > 0
    assert report.damaged_segments == [2]
    assert "given up as damaged" in caplog.text
    assert fs.names(WAL)[1].endswith(".broken")
    assert fs.peek(f"{WAL}/{fs.names(WAL)[1]}") == bytes(content)
    state = comparable(db._store.state)
    db.apply_event("d", "go", {"n": 100})
    fs = fs.power_loss()
    caplog.clear()
    again = open_simulated(fs)
    assert again._store.recovered.report.skipped_records == 0
    assert again._store.recovered.report.damaged_segments == []
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert again.get_instance("d").ctx == {"n": 100}
    assert comparable(again._store.state) != state


def test_skipping_leaves_an_undamaged_directory_alone(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    filled(fs, door).close()
    names = fs.names(WAL)
    db = open_simulated(fs, simulated_options(recovery="skip_corrupt"))
    assert fs.names(WAL) == names
    assert db._store.catalog.full == []


def test_a_record_that_holds_no_entry_is_refused_or_skipped(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door)
    db._store.log.append(KIND_APPLY_EVENT, b"\xc1 no entry")
    db.put_machine("later", 1, door)
    with pytest.raises(DatabaseDamaged, match=r"sequence 15 .*holds no entry"):
        open_simulated(fs.crash())
    skipping = open_simulated(fs.crash(), simulated_options(recovery="skip_corrupt"))
    assert skipping._store.recovered.report.skipped_records == 1
    assert skipping.get_machine("later").version == 1


def test_entries_that_make_no_sense_are_ignored_counted_and_told(
    door: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    fs = SimulatedFileSystem()
    db = filled(fs, door, events=1)
    before = db.get_instance("d")
    for entry in (
        core.CreateInstance("d", "door", 1, "a", {}, timestamp=1),
        core.ApplyEvent("nobody", "go", "a", "b", None, {}, timestamp=1),
        core.DeleteInstance("nobody", timestamp=1),
    ):
        db._store.record(entry)
    assert db._store.ignored_entries == 3
    assert db._store.recovered.ignored == {}
    db.close()
    with caplog.at_level(logging.WARNING, "rstmdb.recovery"):
        again = open_simulated(fs)
    assert again._store.ignored_entries == 3
    assert again._store.recovered.ignored == {
        "create of a living id": 1,
        "event of no instance": 1,
        "delete of no instance": 1,
    }
    told = sorted(record.getMessage() for record in caplog.records)
    assert told[0] == "1 entries of the log were ignored: create of a living id"
    assert len(told) == 3
    assert again.get_instance("d") == before


def test_limits_change_by_an_entry_of_their_own(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    clock = Clock()
    short = simulated_options(limits=Limits(idempotency_retention_ms=1000))
    db = open_simulated(fs, clock=clock)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d")
    db.apply_event("d", "go", idempotency_key="k")
    db.close()
    clock.now_ms += 500
    db = open_simulated(fs, short, clock=clock)
    head = db.wal_stats().latest_offset
    assert db._store.state.limits == short.limits
    assert not db.apply_event("d", "go", idempotency_key="k").applied
    db.close()
    db = open_simulated(fs, short, clock=clock)
    assert db.wal_stats().latest_offset == head, "unchanged limits are no entry"
    clock.now_ms += 600
    assert db.apply_event("d", "go", idempotency_key="k").applied
    state = comparable(db._store.state)
    db = open_simulated(fs.power_loss(), short, clock=clock)
    assert comparable(db._store.state) == state


def test_a_clock_set_back_a_day_reorders_and_revives_nothing(door: dict[str, Any]) -> None:
    fs = SimulatedFileSystem()
    clock = Clock()
    options = simulated_options(limits=Limits(idempotency_retention_ms=3_600_000))
    db = open_simulated(fs, options, clock=clock)
    db.put_machine("door", 1, door)
    db.create_instance("door", 1, instance_id="d")
    db.apply_event("d", "go", {"n": 5}, idempotency_key="k")
    newest = db.get_instance("d").updated_at
    clock.now_ms -= DAY_MS
    db.apply_event("d", "go")
    assert db.get_instance("d").updated_at == newest
    assert not db.apply_event("d", "go", {"n": 5}, idempotency_key="k").applied
    db.close()
    db = open_simulated(fs, options, clock=clock)
    db.create_instance("door", 1, instance_id="e")
    assert db.get_instance("e").created_at == newest
    db.compact()
    clock.now_ms += 2 * DAY_MS
    with pytest.raises(Conflict):
        db.apply_event("d", "go", expected_state="a", idempotency_key="k")
    assert db.apply_event("d", "go", idempotency_key="k").applied
    assert db.get_instance("d").updated_at == clock.now_ms
    state = comparable(db._store.state)
    assert comparable(open_simulated(fs.power_loss(), options)._store.state) == state


def test_recovery_streams_what_live_traffic_wrote(door: dict[str, Any]) -> None:
    """Replaying entry by entry gives the state at each offset."""
    fs = SimulatedFileSystem()
    db = open_simulated(fs)
    states = {}

    def note() -> None:
        states[db._store.log.head] = db._store.state.digest()

    db.put_machine("door", 1, door)
    note()
    db.create_instance("door", 1, instance_id="d", initial_ctx={"n": 2})
    note()
    for event in ("go", "stay", "go", "go", "go"):
        db.apply_event("d", event, {"n": len(states)}, idempotency_key=event + str(len(states)))
        note()
    db.delete_instance("d")
    note()
    replayed = core.State()
    for record in Recovery(WAL, fs=fs, options=StorageOptions().log):
        replayed.evolve(core.decode_entry(record.kind, record.payload), record.offset)
        assert replayed.digest() == states.pop(record.offset)
    assert states == {}
