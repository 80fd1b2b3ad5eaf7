"""WATCH_INSTANCE, WATCH_ALL, UNWATCH and the promise of subscriptions, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conftest import ORDER
from wire import Refused, Wire

if TYPE_CHECKING:
    from conformance.conftest import Servers

Connect = Callable[..., Wire]


def apply(wire: Wire, instance_id: str, event: str, **payload: Any) -> dict[str, Any]:
    return wire.call("APPLY_EVENT", instance_id=instance_id, event=event, payload=payload)


def nothing_more(wire: Wire) -> bool:
    """Whether no event came before the answer to a PING that was sent after everything."""
    wire.call("PING")
    return not wire.events


def test_a_watcher_of_an_instance_learns_its_state_and_then_its_events(
    orders: Wire, connect: Connect
) -> None:
    watcher = connect()
    began = watcher.call("WATCH_INSTANCE", instance_id="o-1")
    assert began["instance_id"] == "o-1"
    assert began["current_state"] == "created"
    assert (
        began["current_wal_offset"]
        == orders.call("GET_INSTANCE", instance_id="o-1")["last_wal_offset"]
    )
    orders.call("CREATE_INSTANCE", machine="order", version=1, instance_id="o-2")
    apply(orders, "o-2", "CANCEL")
    applied = apply(orders, "o-1", "PAY", by="card")
    assert watcher.event() == {
        "type": "event",
        "subscription_id": began["subscription_id"],
        "instance_id": "o-1",
        "machine": "order",
        "version": 1,
        "wal_offset": applied["wal_offset"],
        "from_state": "created",
        "to_state": "paid",
        "event": "PAY",
        "payload": {"by": "card"},
        "ctx": applied["ctx"],
    }
    assert nothing_more(watcher)


def test_a_watcher_that_wants_no_context_gets_none_and_no_payload_is_null(
    orders: Wire, connect: Connect
) -> None:
    watcher = connect()
    watcher.call("WATCH_ALL", include_ctx=False)
    orders.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    event = watcher.event()
    assert "ctx" not in event
    assert event["payload"] is None


def test_watching_an_unknown_instance_is_refused(orders: Wire) -> None:
    with pytest.raises(Refused) as refused:
        orders.call("WATCH_INSTANCE", instance_id="nope")
    assert refused.value.code == "INSTANCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["PAY", "SHIP", "CANCEL", "T"]),
        ({"machines": ["other"]}, ["T"]),
        ({"machines": ["order", "other"], "events": ["T", "SHIP"]}, ["SHIP", "T"]),
        ({"from_states": ["created"]}, ["PAY", "CANCEL"]),
        ({"to_states": ["shipped", "cancelled"], "machines": ["order"]}, ["SHIP", "CANCEL"]),
        ({"events": ["PAY"], "to_states": []}, ["PAY"]),
        ({"events": ["PAY"], "to_states": ["shipped"]}, []),
    ],
)
def test_filters_are_and_between_kinds_and_or_within_one(
    orders: Wire, connect: Connect, filters: dict[str, list[str]], expected: list[str]
) -> None:
    watcher = connect()
    watcher.call("WATCH_ALL", **filters)
    orders.call(
        "PUT_MACHINE", machine="other", version=1,
        definition={"states": ["x"], "initial": "x",
                    "transitions": [{"from": "x", "event": "T", "to": "x"}]},
    )  # fmt: skip
    for instance_id, machine in (("o-2", "order"), ("x-1", "other")):
        orders.call("CREATE_INSTANCE", machine=machine, version=1, instance_id=instance_id)
    apply(orders, "o-1", "PAY")
    apply(orders, "o-1", "SHIP")
    apply(orders, "o-2", "CANCEL")
    apply(orders, "x-1", "T")
    assert [watcher.event()["event"] for _ in expected] == expected
    assert nothing_more(watcher)


def test_from_offset_is_inclusive_and_zero_means_all_for_watch_all_only(
    orders: Wire, connect: Connect
) -> None:
    head = orders.call("WAL_STATS")["latest_offset"]
    first = apply(orders, "o-1", "PAY")["wal_offset"]
    second = apply(orders, "o-1", "SHIP")["wal_offset"]
    for params, expected in (
        ({"from_offset": second}, [second]),
        ({"from_offset": first}, [first, second]),
        ({"from_offset": first + 1}, [second]),
        ({"from_offset": second + 1}, []),
    ):
        for op, more in (("WATCH_ALL", {}), ("WATCH_INSTANCE", {"instance_id": "o-1"})):
            with connect() as watcher:
                watcher.call(op, **params, **more)
                assert [watcher.event()["wal_offset"] for _ in expected] == expected
                assert nothing_more(watcher)
    watcher = connect()
    watcher.call("WATCH_ALL", from_offset=0)
    offsets = [watcher.event()["wal_offset"]]
    while offsets[-1] < second:
        offsets.append(watcher.event()["wal_offset"])
    assert offsets == sorted(set(offsets))
    assert [offset for offset in offsets if offset > head] == [first, second]
    watcher = connect()
    watcher.call("WATCH_INSTANCE", instance_id="o-1", from_offset=0)
    assert nothing_more(watcher)
    watcher = connect()
    watcher.call("WATCH_INSTANCE", instance_id="o-1", from_offset=1)
    assert watcher.event()["wal_offset"] == first


def test_no_event_follows_the_answer_to_unwatch(orders: Wire, connect: Connect) -> None:
    watcher = connect()
    subscription_id = watcher.call("WATCH_ALL")["subscription_id"]
    answer = watcher.call("UNWATCH", subscription_id=subscription_id)
    assert answer == {"subscription_id": subscription_id, "removed": True}
    again = watcher.call("UNWATCH", subscription_id=subscription_id)
    assert again == {"subscription_id": subscription_id, "removed": False}
    apply(orders, "o-1", "PAY")
    assert nothing_more(watcher)


def test_a_session_sees_its_own_writes_and_may_watch_many_times(orders: Wire) -> None:
    ids = {orders.call("WATCH_ALL")["subscription_id"] for _ in range(3)}
    assert len(ids) == 3
    request_id = orders.send("APPLY_EVENT", {"instance_id": "o-1", "event": "PAY"})
    assert orders.response(request_id)["status"] == "ok"
    assert {orders.event()["subscription_id"] for _ in range(3)} == ids


def test_the_watch_of_a_deleted_instance_ends_where_the_client_knows_ends(
    orders: Wire, connect: Connect
) -> None:
    knows = connect(features=("watch", "watch_end"))
    falls_silent = connect()
    subscription_id = knows.call("WATCH_INSTANCE", instance_id="o-1")["subscription_id"]
    falls_silent.call("WATCH_INSTANCE", instance_id="o-1")
    orders.call("DELETE_INSTANCE", instance_id="o-1")
    end = knows.receive()
    assert end["type"] == "end"
    assert end["subscription_id"] == subscription_id
    assert end["reason"]
    assert nothing_more(falls_silent)
    assert knows.call("UNWATCH", subscription_id=subscription_id)["removed"] is False


def test_flush_all_ends_the_watches_of_single_instances(orders: Wire, connect: Connect) -> None:
    knows = connect(features=("watch_end",))
    knows.call("WATCH_INSTANCE", instance_id="o-1")
    knows.call("WATCH_ALL")
    orders.call("FLUSH_ALL")
    assert knows.receive()["type"] == "end"
    assert nothing_more(knows)


def test_replay_and_live_join_without_gap_or_duplicate(orders: Wire, connect: Connect) -> None:
    """Watchers that begin at any moment of a busy history see each event exactly once."""
    orders.call(
        "PUT_MACHINE", machine="ring", version=1,
        definition={"states": ["x"], "initial": "x",
                    "transitions": [{"from": "x", "event": "T", "to": "x"}]},
    )  # fmt: skip
    orders.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
    start = orders.call("WAL_STATS")["latest_offset"]
    total = 1500
    offsets: list[int] = []

    def write() -> None:
        writer = connect()
        ids = [
            writer.send("APPLY_EVENT", {"instance_id": "r", "event": "T", "payload": {"n": n}})
            for n in range(total)
        ]
        offsets.extend(writer.response(i)["result"]["wal_offset"] for i in ids)

    thread = threading.Thread(target=write)
    thread.start()
    watchers = []
    for _ in range(12):
        watcher = connect()
        watcher.call("WATCH_ALL", from_offset=start, machines=["ring"])
        watchers.append(watcher)
    thread.join()
    for watcher in watchers:
        assert [watcher.event()["wal_offset"] for _ in range(total)] == offsets
        assert nothing_more(watcher)


def test_a_watcher_that_does_not_read_catches_up_from_the_log(
    orders: Wire, connect: Connect
) -> None:
    orders.call("CREATE_INSTANCE", machine="order", version=1, instance_id="slow")
    orders.call(
        "PUT_MACHINE", machine="ring", version=1,
        definition={"states": ["x"], "initial": "x",
                    "transitions": [{"from": "x", "event": "T", "to": "x"}]},
    )  # fmt: skip
    orders.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
    watcher = connect()
    watcher.call("WATCH_ALL", machines=["ring"])
    text = "x" * 8000
    offsets = []
    for _ in range(20):
        ids = [
            orders.send("APPLY_EVENT", {"instance_id": "r", "event": "T", "payload": {"t": text}})
            for _ in range(100)
        ]
        offsets += [orders.response(i)["result"]["wal_offset"] for i in ids]
    # 32 MB of events lie ready; the socket's buffers hold a few of them.
    assert [watcher.event()["wal_offset"] for _ in offsets] == offsets
    assert nothing_more(watcher)
    live = apply(orders, "r", "T")["wal_offset"]
    assert watcher.event()["wal_offset"] == live


@pytest.mark.parametrize("kind", ["callback", "callback-tls", "trio"])
def test_a_graceful_stop_ends_watches_and_says_where_to_resume(
    servers: Servers, kind: str, tmp_path: Path
) -> None:
    tls = servers.context(kind)
    with servers.make(kind, tmp_path) as server:
        with (
            Wire(server.host, server.port, features=("watch_end",), tls=tls) as knows,
            Wire(server.host, server.port, tls=tls) as other,
        ):
            knows.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
            knows.call("CREATE_INSTANCE", machine="order", version=1, instance_id="o",
                       initial_ctx={"amount": 1})  # fmt: skip
            knows.call("WATCH_ALL")
            other.call("WATCH_ALL")
            offset = knows.call("APPLY_EVENT", instance_id="o", event="PAY")["wal_offset"]
            assert server.stop() == 0
            end = knows.receive()
            while end["type"] != "end":
                end = knows.receive()
            assert end["resume_from"] > offset
            assert other.event()["wal_offset"] == offset
            assert other.closed_by_server()
        server.start()
        with Wire(server.host, server.port, tls=tls) as again:
            again.call("WATCH_ALL", from_offset=end["resume_from"])
            shipped = again.call("APPLY_EVENT", instance_id="o", event="SHIP")["wal_offset"]
            assert again.event()["wal_offset"] == shipped


def test_filters_have_at_most_a_thousand_names_in_all(orders: Wire) -> None:
    names = [f"{number:x<256}" for number in range(500)]
    watching = orders.call("WATCH_ALL", machines=names, events=names)
    for params in ({"machines": names, "to_states": names, "from_states": ["x"]},
                   {"machines": ["x"] * 100_000}):  # fmt: skip
        answer = orders.request("WATCH_ALL", **params)
        assert answer["error"]["code"] == "BAD_REQUEST"
        assert "at most" in answer["error"]["message"]
    assert orders.call("UNWATCH", subscription_id=watching["subscription_id"])["removed"]
