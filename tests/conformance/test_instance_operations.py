"""CREATE, GET, LIST, DELETE of instances and APPLY_EVENT, over a real socket."""

from __future__ import annotations

import socket
import ssl
import uuid
from typing import Any

import pytest

from wire import Refused, Wire


def refusal(wire: Wire, op: str, **params: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        wire.call(op, **params)
    return refused.value


def create(wire: Wire, **params: Any) -> dict[str, Any]:
    return wire.call("CREATE_INSTANCE", machine="order", version=1, **params)


def pay(wire: Wire, **params: Any) -> dict[str, Any]:
    return wire.call("APPLY_EVENT", instance_id="o-1", event="PAY", **params)


def test_an_instance_begins_in_the_initial_state(orders: Wire) -> None:
    answer = orders.request("CREATE_INSTANCE", machine="order", version=1, instance_id="o-2")
    assert answer["result"]["instance_id"] == "o-2"
    assert answer["result"]["state"] == "created"
    assert answer["result"]["wal_offset"] == answer["meta"]["wal_offset"]
    assert orders.call("GET_INSTANCE", instance_id="o-2")["ctx"] == {}


def test_an_instance_without_an_id_gets_a_uuid(orders: Wire) -> None:
    assert uuid.UUID(create(orders)["instance_id"]).version == 4


def test_an_id_that_is_taken_is_refused_also_after_deletion(orders: Wire) -> None:
    assert refusal(
        orders, "CREATE_INSTANCE", machine="order", version=1, instance_id="o-1"
    ).code == "INSTANCE_EXISTS"  # fmt: skip
    orders.call("DELETE_INSTANCE", instance_id="o-1")
    assert refusal(
        orders, "CREATE_INSTANCE", machine="order", version=1, instance_id="o-1"
    ).code == "INSTANCE_EXISTS"  # fmt: skip


def test_an_instance_of_an_unknown_machine_is_refused(orders: Wire) -> None:
    for machine, version in (("nope", 1), ("order", 9)):
        refused = refusal(orders, "CREATE_INSTANCE", machine=machine, version=version)
        assert refused.code == "MACHINE_NOT_FOUND"


@pytest.mark.parametrize("ctx", [[], "x", 5, {"n": 2**64}, {"n": [{"m": -(2**63) - 1}]}])
def test_a_context_that_is_no_object_or_holds_huge_integers_is_refused(
    orders: Wire, ctx: object
) -> None:
    refused = refusal(orders, "CREATE_INSTANCE", machine="order", version=1, initial_ctx=ctx)
    assert refused.code == "BAD_REQUEST"


@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", "a\x00b", "\x7f", "ü" * 129])
def test_a_name_that_is_empty_too_long_or_has_control_characters_is_refused(
    orders: Wire, name: str
) -> None:
    refused = refusal(orders, "CREATE_INSTANCE", machine="order", version=1, instance_id=name)
    assert refused.code == "BAD_REQUEST"


def test_an_instance_is_read_with_all_its_fields(orders: Wire) -> None:
    before = orders.call("GET_INSTANCE", instance_id="o-1")
    assert before == {
        "instance_id": "o-1",
        "machine": "order",
        "version": 1,
        "state": "created",
        "ctx": {"amount": 10, "customer": {"name": "Ada"}},
        "last_wal_offset": before["last_wal_offset"],
        "created_at": before["created_at"],
        "updated_at": before["created_at"],
    }
    applied = pay(orders, event_id="e-1")
    after = orders.call("GET_INSTANCE", instance_id="o-1")
    assert after["last_event_id"] == "e-1"
    assert after["last_wal_offset"] == applied["wal_offset"] > before["last_wal_offset"]
    assert after["updated_at"] >= after["created_at"] == before["created_at"]


def test_an_unknown_or_deleted_instance_is_not_found(orders: Wire) -> None:
    orders.call("DELETE_INSTANCE", instance_id="o-1")
    for instance_id in ("nope", "o-1"):
        for op, more in (("GET_INSTANCE", {}), ("APPLY_EVENT", {"event": "PAY"})):
            refused = refusal(orders, op, instance_id=instance_id, **more)
            assert refused.code == "INSTANCE_NOT_FOUND"
            assert refused.details["instance_id"] == instance_id


def test_an_event_moves_the_instance_and_merges_the_payload_shallowly(orders: Wire) -> None:
    payload = {"customer": {"vip": True}, "note": None}
    answer = orders.request(
        "APPLY_EVENT", instance_id="o-1", event="PAY", payload=payload, event_id="e-7"
    )
    result = answer["result"]
    assert result == {
        "from_state": "created",
        "to_state": "paid",
        "ctx": {"amount": 10, "customer": {"vip": True}, "note": None},
        "wal_offset": answer["meta"]["wal_offset"],
        "applied": True,
        "event_id": "e-7",
    }


def test_an_event_that_the_state_does_not_know_names_those_that_it_does(orders: Wire) -> None:
    refused = refusal(orders, "APPLY_EVENT", instance_id="o-1", event="SHIP")
    assert refused.code == "INVALID_TRANSITION"
    assert refused.details["current_state"] == "created"
    assert refused.details["event"] == "SHIP"
    assert sorted(refused.details["allowed_events"]) == ["CANCEL", "PAY"]


def test_a_guard_that_does_not_hold_is_named(orders: Wire) -> None:
    create(orders, instance_id="poor", initial_ctx={"amount": 0})
    refused = refusal(orders, "APPLY_EVENT", instance_id="poor", event="PAY", payload={"amount": 5})
    assert refused.code == "GUARD_FAILED"
    assert refused.details["guard"] == "ctx.amount > 0"
    assert orders.call("GET_INSTANCE", instance_id="poor")["ctx"] == {"amount": 0}


def test_expectations_that_do_not_hold_are_conflicts(orders: Wire) -> None:
    offset = orders.call("GET_INSTANCE", instance_id="o-1")["last_wal_offset"]
    refused = refusal(orders, "APPLY_EVENT", instance_id="o-1", event="PAY", expected_state="paid")
    assert refused.code == "CONFLICT"
    assert refused.details == {"expected_state": "paid", "actual_state": "created"}
    refused = refusal(
        orders, "APPLY_EVENT", instance_id="o-1", event="PAY", expected_wal_offset=offset + 1
    )
    assert refused.code == "CONFLICT"
    assert refused.details == {"expected_wal_offset": offset + 1, "actual_wal_offset": offset}
    assert pay(orders, expected_state="created", expected_wal_offset=offset)["applied"] is True


@pytest.mark.parametrize("payload", [[], "x", 1, {"n": 2**64}])
def test_a_payload_that_is_no_object_or_holds_huge_integers_is_refused(
    orders: Wire, payload: object
) -> None:
    refused = refusal(orders, "APPLY_EVENT", instance_id="o-1", event="PAY", payload=payload)
    assert refused.code == "BAD_REQUEST"


def test_a_context_over_its_limit_is_refused(orders: Wire) -> None:
    big = {"text": "x" * 1_048_577}
    refused = refusal(orders, "APPLY_EVENT", instance_id="o-1", event="PAY", payload=big)
    assert refused.code == "BAD_REQUEST"
    assert refusal(
        orders, "CREATE_INSTANCE", machine="order", version=1, initial_ctx=big
    ).code == "BAD_REQUEST"  # fmt: skip


def test_a_repeat_with_the_same_key_gives_the_same_result_and_writes_nothing(
    orders: Wire,
) -> None:
    first = pay(orders, payload={"by": "card"}, idempotency_key="k-1")
    orders.call("APPLY_EVENT", instance_id="o-1", event="SHIP")
    head = orders.call("WAL_STATS")["latest_offset"]
    again = pay(orders, payload={"by": "card"}, idempotency_key="k-1")
    assert again == {**first, "applied": False}
    assert orders.call("WAL_STATS")["latest_offset"] == head


def test_the_same_key_with_another_request_is_a_conflict(orders: Wire) -> None:
    pay(orders, payload={"by": "card"}, idempotency_key="k-1")
    for more in ({"event": "PAY", "payload": {"by": "cash"}}, {"event": "CANCEL"}):
        refused = refusal(orders, "APPLY_EVENT", instance_id="o-1", idempotency_key="k-1", **more)
        assert refused.code == "CONFLICT"


def test_creations_and_deletions_are_idempotent_by_key_too(orders: Wire) -> None:
    first = create(orders, idempotency_key="c-1", initial_ctx={"a": 1})
    assert create(orders, idempotency_key="c-1", initial_ctx={"a": 1}) == first
    assert refusal(
        orders, "CREATE_INSTANCE", machine="order", version=1, idempotency_key="c-1",
        initial_ctx={"a": 2},
    ).code == "CONFLICT"  # fmt: skip
    named = create(orders, instance_id="n-1", idempotency_key="c-1")
    assert create(orders, instance_id="n-1", idempotency_key="c-1") == named
    gone = orders.call("DELETE_INSTANCE", instance_id="n-1", idempotency_key="d-1")
    assert orders.call("DELETE_INSTANCE", instance_id="n-1", idempotency_key="d-1") == gone


def test_a_rejection_is_not_remembered_under_its_key(orders: Wire) -> None:
    refusal(orders, "APPLY_EVENT", instance_id="o-1", event="SHIP", idempotency_key="k-2")
    pay(orders)
    shipped = orders.call("APPLY_EVENT", instance_id="o-1", event="SHIP", idempotency_key="k-2")
    assert shipped["applied"] is True


def test_deletion_is_answered_the_same_way_again(orders: Wire) -> None:
    first = orders.call("DELETE_INSTANCE", instance_id="o-1")
    assert first["deleted"] is True
    assert orders.call("DELETE_INSTANCE", instance_id="o-1") == first
    assert refusal(orders, "DELETE_INSTANCE", instance_id="nope").code == "INSTANCE_NOT_FOUND"


def test_lists_are_in_order_of_creation_and_of_entry_into_a_state(orders: Wire) -> None:
    for number in range(2, 6):
        create(orders, instance_id=f"o-{number}", initial_ctx={"amount": 1})
    for number in (4, 2):
        orders.call("APPLY_EVENT", instance_id=f"o-{number}", event="PAY")
    page = orders.call("LIST_INSTANCES")
    assert [row["id"] for row in page["instances"]] == [f"o-{n}" for n in range(1, 6)]
    assert (page["total"], page["has_more"]) == (5, False)
    row = page["instances"][0]
    assert set(row) == {
        "id",
        "machine",
        "version",
        "state",
        "created_at",
        "updated_at",
        "last_wal_offset",
    }
    paid = orders.call("LIST_INSTANCES", machine="order", state="paid")
    assert [row["id"] for row in paid["instances"]] == ["o-4", "o-2"]
    assert paid["total"] == 2


def test_lists_page_by_offset_and_by_id(orders: Wire) -> None:
    for number in range(2, 6):
        create(orders, instance_id=f"o-{number}")
    page = orders.call("LIST_INSTANCES", limit=2, offset=2)
    assert [row["id"] for row in page["instances"]] == ["o-3", "o-4"]
    assert (page["total"], page["has_more"]) == (5, True)
    after = orders.call("LIST_INSTANCES", limit=2, after="o-4")
    assert [row["id"] for row in after["instances"]] == ["o-5"]
    assert after["has_more"] is False
    assert orders.call("LIST_INSTANCES", machine="nope")["total"] == 0
    assert orders.call("LIST_INSTANCES", state="nope")["instances"] == []


def fill(wire: Wire, machine: str, count: int) -> None:
    for start in range(0, count, 100):
        ops = [{"op": "CREATE_INSTANCE",
                "params": {"machine": machine, "version": 1, "instance_id": f"{machine}-{n}"}}
               for n in range(start, min(start + 100, count))]  # fmt: skip
        wire.call("BATCH", ops=ops)


def test_a_long_list_is_one_moment_and_keeps_its_place_among_the_answers(orders: Wire) -> None:
    definition = {"states": ["x"], "initial": "x", "transitions": []}
    orders.call("PUT_MACHINE", machine="many", version=1, definition=definition)
    fill(orders, "many", 3_000)
    asked = [
        orders.send("LIST_INSTANCES", {"machine": "many", "limit": 10_000}),
        orders.send("DELETE_INSTANCE", {"instance_id": "many-7"}),
        orders.send("LIST_INSTANCES", {"machine": "many", "limit": 2_999, "offset": 1}),
        orders.send("LIST_INSTANCES", {"machine": "many", "limit": 1_000, "after": "nobody"}),
    ]
    answers = [orders.receive() for _ in asked]
    assert [answer["id"] for answer in answers] == asked
    whole, deleted, later, refused = answers
    assert [item["id"] for item in whole["result"]["instances"]] == [
        f"many-{n}" for n in range(3_000)
    ]
    assert whole["result"]["total"] == 3_000
    assert whole["result"]["has_more"] is False
    assert deleted["result"]["deleted"] is True
    assert [item["id"] for item in later["result"]["instances"]] == [
        f"many-{n}" for n in range(1, 3_000) if n != 7
    ]
    assert refused["error"]["code"] == "INSTANCE_NOT_FOUND"


def test_a_half_open_peer_gets_a_long_answer_whole(orders: Wire) -> None:
    orders.call("CREATE_INSTANCE", machine="order", version=1, instance_id="long",
                initial_ctx={"text": "x" * 900_000})  # fmt: skip
    if isinstance(orders.socket, ssl.SSLSocket):
        pytest.skip("TLS has no half-open connections here")
    asked = [orders.send("GET_INSTANCE", {"instance_id": "long"}) for _ in range(3)]
    orders.socket.shutdown(socket.SHUT_WR)
    for request_id in asked:
        assert len(orders.response(request_id)["result"]["ctx"]["text"]) == 900_000
    assert orders.closed_by_server()
