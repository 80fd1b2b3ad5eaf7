"""Every operation, by every kind of client, against a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rstmdb_client as client
import rstmdb_protocol as rcp


def test_hello_tells_what_was_agreed(db: Any) -> None:
    assert db.hello.server_name == "rstmdb"
    assert db.hello.wire_mode == "binary_json"
    assert "watch_end" in db.hello.features


def test_ping_and_info(db: Any) -> None:
    assert db.ping() == rcp.PingResult(True)
    info = db.info()
    assert (info.server_name, info.machines, info.instances) == ("rstmdb", 1, 1)


def test_json_lines_work_as_well_as_frames(open_db: Callable[..., Any], url: str) -> None:
    db = open_db(url, wire_mode="jsonl")
    assert db.hello.wire_mode == "jsonl"
    assert db.apply_event("o-1", "PAY", {"note": "line\nbreak"}).ctx["note"] == "line\nbreak"


def test_machines(db: Any) -> None:
    definition = {"states": ["on"], "initial": "on", "transitions": []}
    created = db.put_machine("lamp", 1, definition)
    assert created.created
    again = db.put_machine("lamp", 1, definition, created.stored_checksum)
    assert not again.created
    assert db.get_machine("lamp").checksum == created.stored_checksum
    assert db.get_machine("lamp", 1).definition["initial"] == "on"
    assert [row.machine for row in db.list_machines().items] == ["lamp", "order"]
    assert [row.machine for row in db.list_machines(limit=1, offset=1).items] == ["order"]


def test_the_life_of_an_instance(db: Any) -> None:
    born = db.create_instance("order", 1, initial_ctx={"amount": 1})
    assert born.state == "created"
    paid = db.apply_event(
        born.instance_id,
        "PAY",
        {"card": "1"},
        expected_state="created",
        expected_wal_offset=born.wal_offset,
        event_id="e-1",
    )
    assert (paid.from_state, paid.to_state, paid.event_id) == ("created", "paid", "e-1")
    found = db.get_instance(born.instance_id)
    assert (found.state, found.ctx["card"], found.last_event_id) == ("paid", "1", "e-1")
    gone = db.delete_instance(born.instance_id)
    assert gone.deleted
    with pytest.raises(client.InstanceNotFoundError) as caught:
        db.get_instance(born.instance_id)
    assert caught.value.details == {"instance_id": born.instance_id}


def test_a_key_makes_a_repeat_the_same(db: Any) -> None:
    first = db.apply_event("o-1", "PAY", idempotency_key="k")
    again = db.apply_event("o-1", "PAY", idempotency_key="k")
    assert (first.applied, again.applied) == (True, False)
    assert first.wal_offset == again.wal_offset


def test_lists_page_by_page(db: Any) -> None:
    with db.batch() as batch:
        for number in range(25):
            batch.create_instance("order", 1, instance_id=f"n-{number:02}")
    page = db.list_instances(machine="order", state="created", limit=10, offset=1)
    assert (len(page.instances), page.total, page.has_more) == (10, 26, True)
    after = db.list_instances(after=page.instances[-1].id, limit=1)
    assert after.instances[0].id == "n-10"
    found = [row.id for row in db.all("instances", machine="order", page=7)]
    assert found == ["o-1", *(f"n-{number:02}" for number in range(25))]
    assert db.all("instances", machine="none") == []


def pay_twice(db: Any) -> None:
    with db.batch(atomic=True) as batch:
        batch.apply_event("o-1", "PAY")
        batch.apply_event("o-1", "PAY")


def pay_and_fail(db: Any) -> None:
    with db.batch() as batch:
        batch.apply_event("o-1", "PAY")
        raise LookupError


def test_a_batch_stands_or_falls_as_one_where_it_is_atomic(db: Any) -> None:
    with db.batch(atomic=True) as batch:
        new = batch.create_instance("order", 1, instance_id="o-2", initial_ctx={"amount": 5})
        paid = batch.apply_event("o-2", "PAY")
        seen = batch.get_instance("o-2")
        machine = batch.get_machine("order")
        raw = batch.call("LIST_MACHINES")
        batch.put_machine("order", 1, db.get_machine("order").definition)
        batch.delete_instance("o-2")
        with pytest.raises(client.BatchNotRun):
            _ = batch.results
        with pytest.raises(client.BatchNotRun):
            _ = new.result
    assert new.result.instance_id == "o-2"
    assert (paid.result.to_state, seen.result.state) == ("paid", "paid")
    assert machine.result.version == 1
    assert raw.result == {"items": [{"machine": "order", "versions": [1]}]}
    assert [type(one).__name__ for one in batch.results][-2:] == [
        "PutMachineResult",
        "DeleteInstanceResult",
    ]
    with pytest.raises(client.InvalidTransitionError) as caught:
        pay_twice(db)
    assert (caught.value.details["index"], caught.value.details["op"]) == (1, "APPLY_EVENT")
    assert db.get_instance("o-1").state == "created"


def test_a_refusal_in_a_batch_stands_in_its_place(db: Any) -> None:
    with db.batch() as batch:
        batch.apply_event("none", "PAY")
        refused = batch.apply_event("o-1", "SHIP")
        batch.apply_event("o-1", "PAY")
    assert isinstance(batch.results[0], client.InstanceNotFoundError)
    assert batch.results[2].to_state == "paid"
    with pytest.raises(client.InvalidTransitionError):
        _ = refused.result


def test_an_empty_batch_and_one_left_by_an_exception_send_nothing(db: Any) -> None:
    with db.batch() as batch:
        pass
    assert batch.results == []
    with pytest.raises(LookupError):
        pay_and_fail(db)
    assert db.get_instance("o-1").state == "created"


def test_batches_and_calls_as_they_are_on_the_wire(db: Any) -> None:
    ops = [
        {"op": "APPLY_EVENT", "params": {"instance_id": "o-1", "event": "PAY"}},
        {"op": "LIST_MACHINES"},
    ]
    first, second = db.call_batch(ops, "atomic").results
    assert (first.status, first.result["to_state"], second.status) == ("ok", "paid", "ok")
    assert db.call("PING") == {"pong": True}
    assert db.call("GET_INSTANCE", {"instance_id": "o-1"})["state"] == "paid"
    with pytest.raises(ValueError, match="the client's own"):
        db.call("HELLO")
    with pytest.raises(client.BadRequestError, match="NOPE"):
        db.call("NOPE")


@pytest.mark.parametrize("wire_mode", ["binary", "jsonl"])
def test_large_contexts_go_both_ways(open_db: Callable[..., Any], url: str, wire_mode: str) -> None:
    db = open_db(url, wire_mode=wire_mode)
    assert "zstd" in db.hello.features
    pad = "abc \N{SNOWMAN}" * 20_000
    assert db.apply_event("o-1", "PAY", {"pad": pad}).ctx["pad"] == pad
    assert db.get_instance("o-1").ctx == {"amount": 10, "pad": pad}


def test_the_log(db: Any) -> None:
    page = db.wal_read(0, 1)
    assert len(page.records) == 1
    records = db.all("wal_records", page.next_offset)
    assert records[-1].entry["type"] == "create_instance"
    assert db.wal_stats().latest_offset >= records[-1].offset


def test_maintenance(db: Any, request: pytest.FixtureRequest) -> None:
    assert db.snapshot_instance("o-1").instance_id == "o-1"
    assert db.compact(force_snapshot=True).snapshots_created == 1
    assert db.backup(f"copy-{request.node.callspec.id}").files > 0
    assert db.unwatch("none") == rcp.UnwatchResult("none", False)
    assert db.flush_all().instances_removed == 1


def test_every_code_that_a_request_can_get_has_its_class(db: Any) -> None:
    definition = {"states": ["on"], "initial": "on", "transitions": []}
    with pytest.raises(client.MachineVersionExistsError):
        db.put_machine("order", 1, definition)
    with pytest.raises(client.MachineNotFoundError):
        db.get_machine("none")
    with pytest.raises(client.InstanceExistsError):
        db.create_instance("order", 1, instance_id="o-1")
    with pytest.raises(client.ConflictError):
        db.apply_event("o-1", "PAY", expected_state="paid")
    with pytest.raises(client.BadRequestError):
        db.put_machine("order", 0, definition)
    db.create_instance("order", 1, instance_id="poor", initial_ctx={"amount": 0})
    with pytest.raises(client.GuardFailedError):
        db.apply_event("poor", "PAY")
    for version in (2, 3):
        db.put_machine("order", version, definition)
    with pytest.raises(client.MachineVersionLimitExceededError):
        db.put_machine("order", 4, definition)


def test_what_is_no_json_or_too_large_leaves_the_connection_whole(db: Any) -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for thing in (object(), "\ud800", deep):
        with pytest.raises(TypeError, match="APPLY_EVENT: what JSON can't hold"):
            db.apply_event("o-1", "PAY", {"thing": thing})
    with pytest.raises(TypeError, match="BATCH, operation 1, CREATE_INSTANCE: what JSON"):
        note_a_thing(db)
    with pytest.raises(client.RequestTooLarge, match="APPLY_EVENT"):
        db.apply_event("o-1", "PAY", {"thing": "x" * (17 << 20)})
    assert db.get_instance("o-1").state == "created"


def note_a_thing(db: Any) -> None:
    with db.batch() as batch:
        batch.apply_event("o-1", "PAY")
        batch.create_instance("order", 1, initial_ctx={"thing": object()})


def test_a_closed_client_connects_again(db: Any) -> None:
    db.close()
    assert not db.hello
    assert db.ping().pong
    db.connect()
    assert db.hello
