"""The original's directories, built byte for byte: they open, replay, and go on in our format."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from crc32c import crc32c

from rstmdb_storage import Database, DatabaseDamaged, InstanceNotFound, MachineNotFound
from rstmdb_storage.testing import comparable, open_simulated
from rstmdb_wal.testing import SimulatedFileSystem

KINDS = {
    "put_machine": 1,
    "create_instance": 2,
    "apply_event": 3,
    "delete_instance": 4,
    "snapshot": 5,
    "checkpoint": 6,
}
FIRST = f"/data/wal/{1:016x}.wal"


def record(sequence: int, entry: dict[str, Any], kind: int | None = None) -> bytes:
    payload = json.dumps(entry).encode()
    kind = KINDS[entry["type"]] if kind is None else kind
    head = struct.pack(">4sBBHIIQ", b"WLOG", kind, 0, 0, len(payload), crc32c(payload), sequence)
    return head + payload


def put(door: dict[str, Any], machine: str = "door") -> dict[str, Any]:
    return {
        "type": "put_machine",
        "machine": machine,
        "version": 1,
        "definition_hash": "0badcafe",
        "definition": {**door, "unknown": {"kept": "by the original"}},
    }


def create(instance_id: str, n: int = 1) -> dict[str, Any]:
    return {
        "type": "create_instance",
        "instance_id": instance_id,
        "machine": "door",
        "version": 1,
        "initial_state": "a",
        "initial_ctx": {"n": n},
        "idempotency_key": f"make-{instance_id}",
    }


def event(instance_id: str, from_state: str, to_state: str, **ctx: Any) -> dict[str, Any]:
    return {
        "type": "apply_event",
        "instance_id": instance_id,
        "event": "go",
        "from_state": from_state,
        "to_state": to_state,
        "payload": ctx,
        "ctx": {"n": 1, **ctx},
        "event_id": None,
        "idempotency_key": f"{from_state}{to_state}",
    }


def delete(instance_id: str) -> dict[str, Any]:
    return {"type": "delete_instance", "instance_id": instance_id, "idempotency_key": None}


def log(*entries: dict[str, Any], first: int = 1) -> bytes:
    return b"".join(record(n, entry) for n, entry in enumerate(entries, first))


def directory(*segments: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    fs.mkdir_now("/data/wal")
    fs.mkdir_now("/data/snapshots")
    for number, content in enumerate(segments, 1):
        fs.poke(f"/data/wal/{number:016x}.wal", content)
    return fs


def snapshots(fs: SimulatedFileSystem, *items: dict[str, Any], index: bool = True) -> None:
    """The original's snapshot files and their index."""
    listed = {}
    for number, item in enumerate(items):
        name = f"snap-{number}"
        content = json.dumps(
            {"snapshot_id": name, "created_at": 1_600_000_000_000, **item}, indent=2
        )
        fs.poke(f"/data/snapshots/{name}.snap", content.encode())
        listed[item["instance_id"]] = {
            "snapshot_id": name,
            "instance_id": item["instance_id"],
            "wal_offset": item["wal_offset"],
            "created_at": 1_600_000_000_000,
            "size_bytes": len(content),
            "checksum": f"{crc32c(content.encode()):08x}",
        }
    if index:
        fs.poke("/data/snapshots/index.json", json.dumps(listed).encode())


def item(instance_id: str, state: str, wal_offset: int, **ctx: Any) -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "machine": "door",
        "version": 1,
        "state": state,
        "ctx": ctx,
        "wal_offset": wal_offset,
    }


def goes_on(fs: SimulatedFileSystem, db: Database) -> Database:
    """Write in our format, compact, lose power, and find all of it again."""
    old = {name: fs.peek(f"/data/wal/{name}") for name in fs.names("/data/wal")}
    for found in db.list_instances().instances:
        db.apply_event(found.id, "go", {"ours": True}, idempotency_key="ours")
    for name, content in old.items():
        assert fs.peek(f"/data/wal/{name}")[: len(content.rstrip(b"\0"))] == content.rstrip(b"\0")
    state = comparable(db._store.state)
    fs = fs.power_loss()
    db = open_simulated(fs)
    assert comparable(db._store.state) == state
    db.compact()
    names = fs.names("/data/wal")
    assert f"{1:016x}.wal" not in names
    db.close()
    fs = fs.power_loss()
    db = open_simulated(fs)
    assert comparable(db._store.state) == state
    for found in db.list_instances().instances:
        assert not db.apply_event(found.id, "go", {"ours": True}, idempotency_key="ours").applied
    return db


def test_a_log_opens_replays_and_goes_on_in_our_format(door: dict[str, Any]) -> None:
    first = log(put(door), create("x"), event("x", "a", "b", k=1), create("y"))
    second = log(
        event("x", "b", "c", k=2),
        delete("y"),
        {"type": "snapshot", "instance_id": "x", "snapshot_id": "s", "wal_offset": 7},
        {"type": "checkpoint", "timestamp": 1_700_000_000_000},
        create("z", 5),
        first=5,
    )
    fs = directory(first, second)
    db = open_simulated(fs)
    found = db.get_instance("x")
    assert (found.state, found.ctx) == ("c", {"n": 1, "k": 2})
    assert found.last_wal_offset == 2 << 40, "its offsets stay as they were"
    with pytest.raises(InstanceNotFound, match="was deleted"):
        db.get_instance("y")
    assert [i.id for i in db.list_instances().instances] == ["x", "z"]
    assert not db.apply_event("x", "go", {"k": 2}, idempotency_key="bc").applied
    assert db.create_instance(
        "door", 1, instance_id="z", initial_ctx={"n": 5}, idempotency_key="make-z"
    ).state == "a"  # fmt: skip
    entries = [json.loads(bytes(r.entry)) for r in db.wal_read().records]
    assert entries[0] == put(door)
    watched = list(db.watch(from_offset=0, timeout=0))
    assert [(e.machine, e.version, e.to_state) for e in watched] == [
        ("door", 1, "b"),
        ("door", 1, "c"),
    ]
    goes_on(fs, db)


def test_snapshots_hold_what_the_log_no_longer_does(
    door: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Compacted by the original: machine and instances are in no segment any more."""
    fs = directory(b"", b"", log(event("x", "b", "c", k=3), create("new"), first=50))
    fs.forget(FIRST)
    fs.forget(f"/data/wal/{2:016x}.wal")
    third = 3 << 40
    snapshots(
        fs,
        item("x", "b", (1 << 40) + 500, n=1, k=2),
        item("w", "a", third - 1, n=0),
        item("new", "a", third + 10_000_000, n=9),
    )
    db = open_simulated(fs)
    assert db.get_instance("x").ctx == {"n": 1, "k": 3}
    assert (db.get_instance("x").state, db.get_instance("w").state) == ("c", "a")
    assert db.get_instance("new").ctx == {"n": 9}, "the snapshot is newer than the log's entry"
    assert db.get_instance("w").created_at == 1_600_000_000_000
    assert "3 instances are of machine door version 1" in caplog.text
    with pytest.raises(MachineNotFound):
        db.apply_event("w", "go")
    db.put_machine("door", 1, door)
    assert db.apply_event("w", "go").to_state == "b"
    goes_on(fs, db)


def test_a_snapshot_of_one_instance_does_not_lose_the_others(door: dict[str, Any]) -> None:
    fs = directory(log(put(door), first=50))
    snapshots(fs, item("x", "b", 500, n=1), item("y", "c", 600, n=2))
    db = open_simulated(fs)
    state = comparable(db._store.state)
    db.snapshot_instance("x")
    fs = fs.power_loss()
    assert comparable(open_simulated(fs)._store.state) == state


def test_a_backup_holds_what_only_the_originals_snapshots_hold(door: dict[str, Any]) -> None:
    fs = directory(log(put(door), first=50))
    snapshots(fs, item("x", "b", 500, n=1), item("y", "c", 600, n=2))
    db = open_simulated(fs)
    db.backup("/data/saved")
    copy = open_simulated(fs, path="/data/saved")
    assert comparable(copy._store.state) == comparable(db._store.state)


@pytest.mark.parametrize("index", [None, b"", b"{", b"[]", b'{"x": {"snapshot_id": 5}}'])
def test_a_missing_or_damaged_index_is_rebuilt_from_its_files(
    door: dict[str, Any], index: bytes | None
) -> None:
    fs = directory(log(put(door), first=50))
    snapshots(fs, item("x", "a", 400), item("x", "b", 500, n=1), item("y", "c", 600))
    fs.forget("/data/snapshots/index.json")
    if index is not None:
        fs.poke("/data/snapshots/index.json", index)
    if index == b'{"x": {"snapshot_id": 5}}':
        with pytest.raises(DatabaseDamaged, match=r"index\.json"):
            open_simulated(fs)
        return
    db = open_simulated(fs)
    assert (db.get_instance("x").state, db.get_instance("x").ctx) == ("b", {"n": 1})
    assert db.get_instance("y").state == "c"
    goes_on(fs, db)


def test_a_damaged_snapshot_of_the_original_is_refused(door: dict[str, Any]) -> None:
    for old, new in ((b"\n}", b""), (b'"b"', b'"c"')):
        fs = directory(log(put(door), first=50))
        snapshots(fs, item("x", "b", 500, n=1))
        content = fs.peek("/data/snapshots/snap-0.snap")
        fs.poke("/data/snapshots/snap-0.snap", content.replace(old, new))
        with pytest.raises(DatabaseDamaged, match=r"snap-0\.snap"):
            open_simulated(fs)
    fs.forget("/data/snapshots/snap-0.snap")
    with pytest.raises(DatabaseDamaged, match="missing"):
        open_simulated(fs)
    fs = directory(log(put(door)))
    listed = {"x": {"snapshot_id": "../../etc", "instance_id": "x", "wal_offset": 1}}
    fs.poke("/data/snapshots/index.json", json.dumps(listed).encode())
    with pytest.raises(DatabaseDamaged, match="is no snapshot id"):
        open_simulated(fs)


@pytest.mark.parametrize("cut", [1, 8, 23, 24, 60, 150])
def test_a_torn_end_is_cut_and_a_torn_fragment_stepped_over(door: dict[str, Any], cut: int) -> None:
    start = log(put(door), create("x"))
    torn = record(3, event("x", "a", "b", k=1))[:cut]
    fs = directory(start + torn)
    db = open_simulated(fs)
    assert db.get_instance("x").state == "a"
    assert db._store.recovered.report.torn_bytes == cut
    goes_on(fs, db)
    # What the original did itself before it refused to start: write again behind the fragment.
    fs = directory(start + torn + log(event("x", "a", "b", k=9), first=3))
    db = open_simulated(fs)
    assert db.get_instance("x").ctx == {"n": 1, "k": 9}
    assert db._store.recovered.report.skipped_fragments == 1
    goes_on(fs, db)
    fs = directory(start + torn + log(event("x", "a", "b", k=9), first=4))
    with pytest.raises(DatabaseDamaged, match="record 4 can be read"):
        open_simulated(fs)


def test_a_type_byte_that_contradicts_its_entry_is_refused(door: dict[str, Any]) -> None:
    fs = directory(log(put(door)) + record(2, create("x"), kind=3))
    with pytest.raises(DatabaseDamaged, match=r"sequence 2 .*holds no entry"):
        open_simulated(fs)


def test_entries_of_lax_clients_are_read(door: dict[str, Any]) -> None:
    """No definition, null contexts and payloads, no key: as the original writes them."""
    bare = create("x")
    bare.update(initial_ctx=None, idempotency_key=None)
    moved = event("x", "a", "b")
    moved.update(payload=None, idempotency_key=None)
    no_definition = {k: v for k, v in put(door, "old").items() if k != "definition"}
    fs = directory(log(put(door), no_definition, bare, moved))
    db = open_simulated(fs)
    assert db.get_instance("x").state == "b"
    assert [m.machine for m in db.list_machines().items] == ["door"]
    assert db._store.state.ignored.total() == 1
    goes_on(fs, db)
