"""WAL_READ, WAL_STATS, SNAPSHOT_INSTANCE, COMPACT, BACKUP, FLUSH_ALL, over a real socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import ORDER
from rstmdb_server.testing import ServerProcess
from wire import Refused, Wire


def read_all(wire: Wire, from_offset: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    while True:
        page = wire.call("WAL_READ", from_offset=from_offset, limit=limit)
        if not page["records"]:
            assert page["next_offset"] == from_offset
            return records
        assert len(page["records"]) <= limit
        assert page["next_offset"] > page["records"][-1]["offset"]
        records += page["records"]
        from_offset = page["next_offset"]


def test_the_log_shows_what_happened_in_order(orders: Wire) -> None:
    applied = orders.call(
        "APPLY_EVENT", instance_id="o-1", event="PAY", payload={"by": "card"}, event_id="e-1"
    )
    orders.call("DELETE_INSTANCE", instance_id="o-1")
    beginning = read_all(orders, limit=1000)[-5]["offset"]
    records = read_all(orders, beginning, limit=2)
    assert [r["entry"]["type"] for r in records] == [
        "flush_all",
        "put_machine",
        "create_instance",
        "apply_event",
        "delete_instance",
    ]
    sequences = [r["sequence"] for r in records]
    assert sequences == list(range(sequences[0], sequences[0] + 5))
    offsets = [r["offset"] for r in records]
    assert offsets == sorted(set(offsets))
    put, created, event, deleted = (r["entry"] for r in records[1:])
    assert put["machine"] == "order"
    assert put["definition"]["initial"] == "created"
    assert len(put["definition_hash"]) == 64
    assert created["initial_state"] == "created"
    assert created["initial_ctx"] == {"amount": 10, "customer": {"name": "Ada"}}
    assert event["from_state"] == "created"
    assert event["to_state"] == "paid"
    assert event["payload"] == {"by": "card"}
    assert event["ctx"]["by"] == "card"
    assert event["event_id"] == "e-1"
    assert event["prev_offset"] == records[2]["offset"]
    assert deleted["prev_offset"] == records[3]["offset"] == applied["wal_offset"]
    for entry in (created, event, deleted):
        assert (entry["machine"], entry["version"]) == ("order", 1)
        assert entry["timestamp"] > 1_600_000_000_000


def test_reading_begins_at_the_first_record_at_or_behind_the_offset(orders: Wire) -> None:
    records = read_all(orders, limit=1000)
    first, second = records[-2:]
    page = orders.call("WAL_READ", from_offset=first["offset"] + 1)
    assert page["records"] == [second]
    head = orders.call("WAL_READ", from_offset=second["offset"] + 1)
    assert head == {"records": [], "next_offset": second["offset"] + 1}


def test_a_limit_over_1000_counts_as_1000(orders: Wire) -> None:
    ops = [
        {"op": "CREATE_INSTANCE", "params": {"machine": "order", "version": 1}} for _ in range(100)
    ]
    for _ in range(11):
        orders.call("BATCH", ops=ops)
    assert len(orders.call("WAL_READ", from_offset=0, limit=5000)["records"]) == 1000
    assert len(orders.call("WAL_READ", from_offset=0)["records"]) == 100


def test_the_statistics_count_records_bytes_and_syncs(orders: Wire) -> None:
    before = orders.call("WAL_STATS")
    offset = orders.call("APPLY_EVENT", instance_id="o-1", event="PAY")["wal_offset"]
    after = orders.call("WAL_STATS")
    assert after["entry_count"] == before["entry_count"] + 1
    assert after["latest_offset"] == offset == after["durable_offset"]
    assert after["total_size_bytes"] > before["total_size_bytes"]
    assert after["segment_count"] >= 1
    assert after["earliest_offset"] <= offset
    io, was = after["io_stats"], before["io_stats"]
    assert set(io) == {"bytes_written", "bytes_read", "writes", "reads", "fsyncs"}
    assert io["bytes_written"] > was["bytes_written"]
    assert io["writes"] == was["writes"] + 1
    assert io["fsyncs"] == was["fsyncs"] + 1


def test_one_instance_is_written_out_as_a_snapshot(orders: Wire, server: ServerProcess) -> None:
    result = orders.call("SNAPSHOT_INSTANCE", instance_id="o-1")
    assert result["instance_id"] == "o-1"
    assert result["wal_offset"] == orders.call("GET_INSTANCE", instance_id="o-1")["last_wal_offset"]
    path = server.data_dir / "snapshots" / f"{result['snapshot_id']}.snap"
    assert path.stat().st_size == result["size_bytes"]
    assert len(result["checksum"]) == 8
    with pytest.raises(Refused) as refused:
        orders.call("SNAPSHOT_INSTANCE", instance_id="nope")
    assert refused.value.code == "INSTANCE_NOT_FOUND"


def fill(wire: Wire, megabytes: int) -> None:
    for number in range(megabytes * 4):
        wire.call(
            "CREATE_INSTANCE", machine="order", version=1,
            initial_ctx={"text": "".join(map(str, range(number, number + 60_000)))[:262_144]},
        )  # fmt: skip


def test_compaction_reclaims_what_it_says_and_old_offsets_are_not_found(
    tmp_path: Path,
) -> None:
    env = {"RSTMDB_WAL_SEGMENT_SIZE_MB": "1", "RSTMDB_COMPRESS_FROM": "0"}
    with ServerProcess(tmp_path, env) as server, Wire(server.host, server.port) as wire:
        wire.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
        fill(wire, 3)
        before = wire.call("WAL_STATS")
        state = wire.call("LIST_INSTANCES", limit=10_000)
        done = wire.call("COMPACT")
        after = wire.call("WAL_STATS")
        assert done["snapshots_created"] == 1
        assert done["total_snapshots"] == 1
        assert done["segments_deleted"] == before["segment_count"] - done["wal_segments"] > 0
        assert done["wal_segments"] == after["segment_count"]
        assert 0 < done["bytes_reclaimed"] <= before["total_size_bytes"]
        assert after["earliest_offset"] > before["earliest_offset"]
        for op in ("WAL_READ", "WATCH_ALL"):
            with pytest.raises(Refused) as refused:
                wire.call(op, from_offset=2)
            assert refused.value.code == "NOT_FOUND"
            assert refused.value.details["earliest_offset"] == after["earliest_offset"]
        assert wire.call("WAL_READ", from_offset=0)["records"]
        idle = wire.call("COMPACT")
        assert (idle["snapshots_created"], idle["segments_deleted"]) == (0, 0)
        assert wire.call("COMPACT", force_snapshot=True)["snapshots_created"] == 1
        assert server.stop() == 0
        server.start()
        with Wire(server.host, server.port) as again:
            assert again.call("LIST_INSTANCES", limit=10_000) == state
            assert again.call("LIST_MACHINES")["items"] == [{"machine": "order", "versions": [1]}]


def test_a_backup_is_a_directory_that_a_server_serves(
    orders: Wire, server: ServerProcess, tmp_path: Path
) -> None:
    orders.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    instance = orders.call("GET_INSTANCE", instance_id="o-1")
    name = f"nightly-{tmp_path.name}"
    result = orders.call("BACKUP", name=name)
    assert result["name"] == name
    assert result["wal_offset"] == instance["last_wal_offset"]
    copy = server.folder / "backups" / name
    files = [path for path in copy.rglob("*") if path.is_file()]
    assert len(files) == result["files"]
    assert sum(path.stat().st_size for path in files) == result["bytes"]
    orders.call("APPLY_EVENT", instance_id="o-1", event="SHIP")
    copy.rename(tmp_path / "data")
    with ServerProcess(tmp_path) as restored, Wire(restored.host, restored.port) as wire:
        assert wire.call("GET_INSTANCE", instance_id="o-1") == instance


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200, "a b"])
def test_a_backup_name_that_is_no_file_name_is_refused(orders: Wire, name: str) -> None:
    with pytest.raises(Refused) as refused:
        orders.call("BACKUP", name=name)
    assert refused.value.code == "BAD_REQUEST"


def test_a_backup_is_never_overwritten_and_gets_a_name_of_its_own(orders: Wire) -> None:
    name = orders.call("BACKUP")["name"]
    with pytest.raises(Refused) as refused:
        orders.call("BACKUP", name=name)
    assert refused.value.code == "BAD_REQUEST"


def test_flush_all_empties_the_database_durably(orders: Wire, connect: Callable[..., Wire]) -> None:
    orders.call("APPLY_EVENT", instance_id="o-1", event="PAY", idempotency_key="k")
    result = orders.call("FLUSH_ALL")
    assert result == {"flushed": True, "instances_removed": 1, "machines_removed": 1}
    assert orders.call("LIST_MACHINES") == {"items": []}
    assert orders.call("LIST_INSTANCES")["total"] == 0
    orders.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
    orders.call("CREATE_INSTANCE", machine="order", version=1, instance_id="o-1")


def test_backup_and_flush_all_are_off_unless_configured(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Wire(server.host, server.port) as wire:
        for op in ("FLUSH_ALL", "BACKUP"):
            with pytest.raises(Refused) as refused:
                wire.call(op)
            assert refused.value.code == "BAD_REQUEST"
            assert "storage." in refused.value.message
