"""BATCH, over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from wire import Refused, Wire


def op(name: str, **params: Any) -> dict[str, Any]:
    return {"op": name, "params": params}


def entries(wire: Wire) -> int:
    count: int = wire.call("WAL_STATS")["entry_count"]
    return count


def test_an_atomic_batch_sees_its_own_changes_and_answers_each_op(orders: Wire) -> None:
    result = orders.call(
        "BATCH",
        mode="atomic",
        ops=[
            op("CREATE_INSTANCE", machine="order", version=1, instance_id="b-1",
               initial_ctx={"amount": 3}),
            op("APPLY_EVENT", instance_id="b-1", event="PAY"),
            op("GET_INSTANCE", instance_id="b-1"),
            op("DELETE_INSTANCE", instance_id="o-1"),
        ],
    )  # fmt: skip
    results = result["results"]
    assert [set(item) for item in results] == [{"status", "result", "error"}] * 4
    assert [item["status"] for item in results] == ["ok"] * 4
    assert [item["error"] for item in results] == [None] * 4
    assert results[2]["result"]["state"] == "paid"
    assert results[2]["result"]["last_wal_offset"] == results[1]["result"]["wal_offset"]


def test_an_atomic_batch_that_fails_changes_nothing_and_has_the_failing_ops_code(
    orders: Wire,
) -> None:
    before = (entries(orders), orders.call("GET_INSTANCE", instance_id="o-1"))
    with pytest.raises(Refused) as refused:
        orders.call(
            "BATCH",
            mode="atomic",
            ops=[
                op("APPLY_EVENT", instance_id="o-1", event="PAY"),
                op("PUT_MACHINE", machine="late", version=1,
                   definition={"states": ["s"], "initial": "s", "transitions": []}),
                op("APPLY_EVENT", instance_id="o-1", event="PAY"),
            ],
        )  # fmt: skip
    assert refused.value.code == "INVALID_TRANSITION"
    assert refused.value.details["index"] == 2
    assert refused.value.details["op"] == "APPLY_EVENT"
    assert (entries(orders), orders.call("GET_INSTANCE", instance_id="o-1")) == before
    assert [m["machine"] for m in orders.call("LIST_MACHINES")["items"]] == ["order"]


def test_in_a_best_effort_batch_each_op_stands_alone(orders: Wire) -> None:
    results = orders.call(
        "BATCH",
        ops=[
            op("APPLY_EVENT", instance_id="o-1", event="SHIP"),
            op("APPLY_EVENT", instance_id="o-1", event="PAY"),
            op("GET_INSTANCE"),
        ],
    )["results"]
    assert [item["status"] for item in results] == ["error", "ok", "error"]
    assert results[0]["error"]["code"] == "INVALID_TRANSITION"
    assert results[0]["result"] is None
    assert results[2]["error"]["code"] == "BAD_REQUEST"
    assert orders.call("GET_INSTANCE", instance_id="o-1")["state"] == "paid"


@pytest.mark.parametrize("forbidden", ["PING", "WATCH_ALL", "BATCH", "FLUSH_ALL", "NOPE"])
def test_other_ops_are_refused_before_anything_runs(orders: Wire, forbidden: str) -> None:
    before = entries(orders)
    with pytest.raises(Refused) as refused:
        orders.call("BATCH", ops=[op("APPLY_EVENT", instance_id="o-1", event="PAY"), op(forbidden)])
    assert refused.value.code == "BAD_REQUEST"
    assert entries(orders) == before


def test_an_unknown_mode_and_too_many_ops_are_refused(orders: Wire) -> None:
    get = op("GET_INSTANCE", instance_id="o-1")
    for params in ({"mode": "maybe", "ops": [get]}, {"ops": [get] * 101}):
        with pytest.raises(Refused) as refused:
            orders.call("BATCH", **params)
        assert refused.value.code == "BAD_REQUEST"
    assert len(orders.call("BATCH", ops=[get] * 100)["results"]) == 100
    assert orders.call("BATCH", ops=[]) == {"results": []}


@pytest.mark.parametrize("mode", ["atomic", "best_effort"])
def test_a_batch_whose_answer_would_not_fit_a_frame_changes_nothing(
    orders: Wire, mode: str
) -> None:
    orders.call(
        "CREATE_INSTANCE", machine="order", version=1, instance_id="big",
        initial_ctx={"text": "x" * 900_000},
    )  # fmt: skip
    before = entries(orders)
    ops = [op("APPLY_EVENT", instance_id="o-1", event="PAY")]
    ops += [op("GET_INSTANCE", instance_id="big")] * 20
    with pytest.raises(Refused) as refused:
        orders.call("BATCH", mode=mode, ops=ops)
    assert refused.value.code == "BAD_REQUEST"
    assert entries(orders) == before
    assert orders.call("GET_INSTANCE", instance_id="o-1")["state"] == "created"


def test_a_batch_larger_than_a_segment_is_still_one_unit(orders: Wire) -> None:
    orders.call(
        "BATCH",
        mode="atomic",
        ops=[
            op("CREATE_INSTANCE", machine="order", version=1, instance_id=f"w-{n}",
               initial_ctx={"n": n, "text": f"{n:06d}" * 30_000})
            for n in range(12)
        ],
    )  # fmt: skip
    assert orders.call("LIST_INSTANCES")["total"] == 13


def test_the_lists_of_a_batch_hold_ten_thousand_instances_together(orders: Wire) -> None:
    ops = [{"op": "CREATE_INSTANCE", "params": {"machine": "order", "version": 1}}] * 100
    for _ in range(41):
        orders.call("BATCH", ops=ops)
    part = {"op": "LIST_INSTANCES", "params": {"limit": 4_000}}
    results = orders.call("BATCH", ops=[part] * 4)["results"]
    assert [result["status"] for result in results] == ["ok", "ok", "error", "error"]
    assert results[2]["error"]["code"] == "BAD_REQUEST"
    assert "10000 instances together" in results[2]["error"]["message"]
