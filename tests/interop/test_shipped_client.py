"""The Python client that users already have works with this server, unchanged.

It is a black box: its names come from `dir()`, what it promises from its signatures and
docstrings. `@covers` tells which of its public names a test is about; the last test compares
them with what there is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import ORDER
from rstmdb_protocol import encode_frame
from rstmdb_server.testing import ServerProcess
from shipped import Raised, Shipped, Thing

pytestmark = pytest.mark.timeout(300)  # the first test waits for an installation

COVERED: set[str] = set()
Test = Callable[..., None]


def covers(*names: str) -> Callable[[Test], Test]:
    """Say which public names a test uses, and fail it if it does not."""
    COVERED.update(names)

    def claim(test: Test) -> Test:
        @functools.wraps(test)
        def checked(*, shipped: Shipped, **fixtures: Any) -> None:
            shipped.called.clear()
            test(shipped=shipped, **fixtures)
            assert set(names) <= shipped.called

        return checked

    return claim


def raised(thing: Thing, what: str, *args: Any, **kwargs: Any) -> str:
    """The code of the error that a call raises."""
    with pytest.raises(Raised) as caught:
        thing.call(what, *args, **kwargs)
    assert caught.value.classes[:2] == ["ServerError", "RstmdbError"]
    assert caught.value.code is not None
    assert caught.value.message
    return caught.value.code


def order(client: Thing, instance_id: str = "o-1", amount: int = 10) -> None:
    client.call("put_machine", "order", 1, ORDER)
    client.call("create_instance", "order", 1, instance_id, {"amount": amount})


@covers("Client", "Client.connect", "Client.is_connected", "Client.close", "Client.ping")
def test_it_connects_pings_and_closes(shipped: Shipped, emptied: ServerProcess) -> None:
    client = shipped.make("Client", emptied.host, emptied.port)
    assert client.get("is_connected") is False
    client.call("connect")
    assert client.get("is_connected") is True
    assert client.call("ping") is True
    client.call("close")
    assert client.get("is_connected") is False
    with pytest.raises(Raised) as caught:
        client.call("ping")
    assert caught.value.classes[:2] == ["ConnectionError", "RstmdbError"]


@covers("Client.reconnect")
def test_it_reconnects_by_hand(shipped: Shipped, client: Thing) -> None:
    client.call("reconnect")
    assert client.call("ping") is True


@covers("Client.info")
def test_info_tells_about_the_server(shipped: Shipped, client: Thing) -> None:
    info = client.call("info")
    assert info["server_name"] == "rstmdb"
    assert info["protocol_version"] == 1
    assert info["features"] == sorted(info["features"])
    assert info["max_batch_ops"] == 100
    assert info["max_frame_bytes"] == 16 * 1024 * 1024


@covers("Client.put_machine", "Client.get_machine", "Client.list_machines")
def test_machines_are_put_got_and_listed(shipped: Shipped, client: Thing) -> None:
    put = client.call("put_machine", "order", 1, ORDER)
    assert (put["machine"], put["version"], put["created"]) == ("order", 1, True)
    assert client.call("put_machine", "order", 1, ORDER)["created"] is False
    client.call("put_machine", "order", 2, ORDER)
    client.call("put_machine", "a", 1, {"states": ["s"], "initial": "s", "transitions": []})
    got = client.call("get_machine", "order", 1)
    assert got["checksum"] == put["stored_checksum"]
    assert got["definition"]["transitions"][1] == {
        "from": ["paid"],
        "event": "SHIP",
        "to": "shipped",
    }
    assert client.call("list_machines") == [
        {"machine": "a", "versions": [1]},
        {"machine": "order", "versions": [1, 2]},
    ]


@covers(
    "Client.create_instance", "Client.get_instance", "Client.list_instances",
    "Client.delete_instance",
)  # fmt: skip
def test_instances_are_created_got_listed_and_deleted(shipped: Shipped, client: Thing) -> None:
    client.call("put_machine", "order", 1, ORDER)
    made = client.call("create_instance", "order", 1, "o-1", {"amount": 10})
    assert (made["instance_id"], made["state"]) == ("o-1", "created")
    assert client.call("get_instance", "o-1") == {
        "machine": "order", "version": 1, "state": "created", "ctx": {"amount": 10},
        "last_event_id": None, "last_wal_offset": made["wal_offset"],
    }  # fmt: skip
    named = client.call("create_instance", "order", 1)["instance_id"]
    assert len(named) == 36
    keyed = client.call("create_instance", "order", 1, "o-3", None, "key")
    assert client.call("create_instance", "order", 1, "o-3", None, "key") == keyed

    listed = client.call("list_instances")
    assert [item["id"] for item in listed["instances"]] == ["o-1", named, "o-3"]
    assert (listed["total"], listed["has_more"]) == (3, False)
    page = client.call("list_instances", machine="order", state="created", limit=1, offset=1)
    assert [item["id"] for item in page["instances"]] == [named]
    assert (page["total"], page["has_more"]) == (3, True)
    assert page["instances"][0]["updated_at"] >= page["instances"][0]["created_at"] > 0
    assert client.call("list_instances", state="paid")["total"] == 0

    gone = client.call("delete_instance", "o-1", "key")
    assert (gone["instance_id"], gone["deleted"]) == ("o-1", True)
    assert client.call("delete_instance", "o-1", "key") == gone
    assert raised(client, "get_instance", "o-1") == "INSTANCE_NOT_FOUND"


@covers("Client.apply_event")
def test_events_are_applied_once_per_key_and_from_the_expected_state(
    shipped: Shipped, client: Thing
) -> None:
    order(client)
    paid = client.call("apply_event", "o-1", "PAY", {"by": "card"}, "created", "key")
    assert (paid["from_state"], paid["to_state"], paid["applied"]) == ("created", "paid", True)
    assert paid["ctx"] == {"amount": 10, "by": "card"}
    again = client.call("apply_event", "o-1", "PAY", {"by": "card"}, "created", "key")
    assert again == {**paid, "applied": False}
    assert raised(client, "apply_event", "o-1", "SHIP", expected_state="created") == "CONFLICT"
    shipped_now = client.call("apply_event", "o-1", "SHIP")
    assert shipped_now["to_state"] == "shipped"
    assert shipped_now["wal_offset"] > paid["wal_offset"]
    assert client.call("get_instance", "o-1")["last_wal_offset"] == shipped_now["wal_offset"]


@covers("Client.wal_read", "Client.wal_stats")
def test_the_log_is_read_in_pages_and_counted(shipped: Shipped, client: Thing) -> None:
    order(client)
    applied = client.call("apply_event", "o-1", "PAY", {"by": "card"})
    stats = client.call("wal_stats")
    assert stats["latest_offset"] == applied["wal_offset"]
    assert stats["io_stats"]["writes"] > 0
    records: list[dict[str, Any]] = []
    position = 0
    while (page := client.call("wal_read", position, 2))["records"]:
        records += page["records"]
        position = page["next_offset"]
    assert len({record["sequence"] for record in records}) == len(records)
    kinds = [record["entry"]["type"] for record in records[-4:]]
    assert kinds == ["flush_all", "put_machine", "create_instance", "apply_event"]
    assert records[-1]["offset"] == applied["wal_offset"]
    assert client.call("wal_read")["records"][0] == records[0]


@covers("Client.compact")
def test_the_log_is_compacted_and_everything_is_still_there(
    shipped: Shipped, client: Thing, server: ServerProcess
) -> None:
    client.call("put_machine", "order", 1, ORDER)
    for number in range(6):
        ctx = {"amount": 1, "text": "x" * 400_000}
        client.call("create_instance", "order", 1, f"o-{number}", ctx)
    done = client.call("compact")
    assert done["snapshots_created"] == 1
    assert done["segments_deleted"] > 0
    assert done["bytes_reclaimed"] > 1_000_000
    assert client.call("compact", True)["snapshots_created"] == 1
    assert raised(client, "wal_read", 1) == "NOT_FOUND"
    server.stop()
    server.start()
    client.call("reconnect")
    assert client.call("list_instances")["total"] == 6
    assert client.call("get_instance", "o-5")["ctx"]["amount"] == 1


@covers("Client.flush_all")
def test_the_database_is_emptied(shipped: Shipped, client: Thing) -> None:
    order(client)
    assert client.call("flush_all") == {
        "flushed": True, "instances_removed": 1, "machines_removed": 1,
    }  # fmt: skip
    assert client.call("list_machines") == []


@covers("Client.watch_instance", "Client.events", "Client.unwatch")
def test_one_instance_is_watched_until_unwatched(shipped: Shipped, client: Thing) -> None:
    order(client)
    order(client, "o-2")
    watch = client.call("watch_instance", "o-1")
    assert (watch["instance_id"], watch["current_state"]) == ("o-1", "created")
    assert watch["current_wal_offset"] == client.call("get_instance", "o-1")["last_wal_offset"]
    client.call("apply_event", "o-2", "PAY")
    paid = client.call("apply_event", "o-1", "PAY", {"by": "card"})
    assert client.events(1) == [
        {
            "type": "event", "subscription_id": watch["subscription_id"], "instance_id": "o-1",
            "machine": "order", "version": 1, "wal_offset": paid["wal_offset"],
            "from_state": "created", "to_state": "paid", "event": "PAY",
            "payload": {"by": "card"}, "ctx": {"amount": 10, "by": "card"},
        }
    ]  # fmt: skip
    removed = client.call("unwatch", watch["subscription_id"])
    assert removed == {"subscription_id": watch["subscription_id"], "removed": True}
    assert client.call("unwatch", watch["subscription_id"])["removed"] is False
    client.call("apply_event", "o-1", "SHIP")
    other = client.call("watch_instance", "o-2", include_ctx=False)
    client.call("apply_event", "o-2", "SHIP")
    [event] = client.events(1)
    assert event["subscription_id"] == other["subscription_id"]
    assert (event["event"], event["payload"], event["ctx"]) == ("SHIP", None, None)


@covers("Client.watch_all", "Client.events")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["PAY o-1", "SHIP o-1", "PAY o-2", "CANCEL o-2", "GO r-1"]),
        ({"machines": ["ring"]}, ["GO r-1"]),
        ({"from_states": ["paid"]}, ["SHIP o-1", "CANCEL o-2"]),
        ({"to_states": ["paid", "shipped"]}, ["PAY o-1", "SHIP o-1", "PAY o-2"]),
        ({"events": ["CANCEL", "GO"]}, ["CANCEL o-2", "GO r-1"]),
        ({"machines": ["order"], "to_states": ["cancelled", "x"]}, ["CANCEL o-2"]),
    ],
)
def test_all_instances_are_watched_through_filters(
    shipped: Shipped, client: Thing, filters: dict[str, list[str]], expected: list[str]
) -> None:
    order(client)
    order(client, "o-2")
    ring = {
        "states": ["x"],
        "initial": "x",
        "transitions": [{"from": "x", "event": "GO", "to": "x"}],
    }
    client.call("put_machine", "ring", 1, ring)
    client.call("create_instance", "ring", 1, "r-1")
    head = client.call("wal_stats")["latest_offset"]
    watch = client.call("watch_all", **filters, include_ctx=False)
    assert watch["wal_offset"] == head
    steps = [("o-1", "PAY"), ("o-1", "SHIP"), ("o-2", "PAY"), ("o-2", "CANCEL"), ("r-1", "GO")]
    for instance_id, event in steps:
        client.call("apply_event", instance_id, event)
    # A second subscription that sees one last event tells where the first one's events end.
    last = client.call("watch_instance", "r-1")
    client.call("unwatch", watch["subscription_id"])
    client.call("apply_event", "r-1", "GO")
    events = client.events(len(expected) + 1)
    assert [f"{event['event']} {event['instance_id']}" for event in events[:-1]] == expected
    assert {event["subscription_id"] for event in events[:-1]} == {watch["subscription_id"]}
    assert events[-1]["subscription_id"] == last["subscription_id"]


def test_requests_in_flight_at_the_same_time_get_their_own_answers(client: Thing) -> None:
    client.call("put_machine", "order", 1, ORDER)
    ids = [f"o-{number}" for number in range(50)]
    calls = [
        ("create_instance", {"machine": "order", "version": 1, "instance_id": name}) for name in ids
    ]
    assert [item["instance_id"] for item in client.together(*calls)] == ids


def test_a_watch_of_a_deleted_instance_falls_silent_and_the_connection_lives(
    client: Thing,
) -> None:
    order(client)
    order(client, "o-2")
    client.call("watch_instance", "o-1")
    client.call("delete_instance", "o-1")
    watch = client.call("watch_instance", "o-2")
    client.call("apply_event", "o-2", "PAY")
    [event] = client.events(1)
    assert event["subscription_id"] == watch["subscription_id"]


def test_it_notices_that_the_server_stopped(shipped: Shipped, emptied: ServerProcess) -> None:
    client = shipped.make("Client", emptied.host, emptied.port)
    client.call("connect")
    client.call("watch_all")
    assert emptied.stop() == 0
    try:
        with pytest.raises(Raised) as caught:
            client.call("ping")
        assert caught.value.classes[:2] == ["ConnectionError", "RstmdbError"]
        assert client.get("is_connected") is False
    finally:
        emptied.start()
        client.call("close")


def test_with_auto_reconnect_it_goes_on_over_a_restart(
    shipped: Shipped, emptied: ServerProcess
) -> None:
    # Its stream of events does not notice a loss by itself, whatever the server does: a caller
    # watches again once a request has reconnected.
    client = shipped.make(
        "Client", emptied.host, emptied.port, auto_reconnect=True, reconnect_base_delay=0.05,
        on_reconnect="<count reconnects>",
    )  # fmt: skip
    client.call("connect")
    order(client)
    client.call("watch_all")
    paid = client.call("apply_event", "o-1", "PAY")
    assert [event["wal_offset"] for event in client.events(1)] == [paid["wal_offset"]]
    before = shipped.order("reconnects")
    emptied.kill()
    emptied.start()
    assert client.call("get_instance", "o-1")["last_wal_offset"] == paid["wal_offset"]
    assert shipped.order("reconnects") == before + 1
    client.call("watch_all")
    sent = client.call("apply_event", "o-1", "SHIP")
    assert [event["wal_offset"] for event in client.events(1, fresh=True)] == [sent["wal_offset"]]
    client.call("close")


@covers("create_ssl_context", "Connection", "Connection.connect", "Connection.close")
def test_it_speaks_tls_both_ways_authenticated(
    shipped: Shipped, tls_server: ServerProcess, certificates: dict[str, str]
) -> None:
    address = (tls_server.host, tls_server.port)
    own = {"client_cert": certificates["client"], "client_key": certificates["client"]}
    client = shipped.make("Client", *address, tls=True, ca_cert=certificates["ca"], **own)
    client.call("connect")
    assert client.call("ping") is True
    client.call("close")
    context = shipped.make("create_ssl_context", ca_cert=certificates["ca"], **own)
    connection = shipped.make("Connection", *address, ssl_context=context.reference)
    connection.call("connect")
    assert connection.call("request", "PING", {})["result"] == {"pong": True}
    connection.call("close")
    unchecked = shipped.make("Client", *address, tls=True, insecure=True, **own)
    unchecked.call("connect")
    assert unchecked.call("ping") is True
    unchecked.call("close")


def test_over_tls_a_stranger_to_either_side_is_refused(
    shipped: Shipped, tls_server: ServerProcess, certificates: dict[str, str]
) -> None:
    address = (tls_server.host, tls_server.port)
    for options in (
        {"ca_cert": certificates["ca"]},
        {"ca_cert": certificates["other_ca"], "client_cert": certificates["client"],
         "client_key": certificates["client"]},
    ):  # fmt: skip
        client = shipped.make("Client", *address, tls=True, **options)
        with pytest.raises(Raised):  # noqa: PT012 (in TLS 1.3 the server may refuse after connect)
            client.call("connect")
            client.call("ping")
        client.call("close")


def test_a_token_is_needed_where_the_server_says_so(
    shipped: Shipped, guarded_server: ServerProcess
) -> None:
    address = (guarded_server.host, guarded_server.port)
    client = shipped.make("Client", *address, token="sesame")
    client.call("connect")
    assert client.call("list_machines") == []
    client.call("close")


def test_every_error_code_it_knows_reaches_it_as_that_code(
    shipped: Shipped,
    client: Thing,
    connection: Thing,
    guarded_server: ServerProcess,
    tmp_path: Path,
) -> None:
    def answered(op: str, **params: Any) -> str:
        code: str = connection.call("request", op, params)["error"]["code"]
        return code

    found = {answered("HELLO", protocol_version=9)}
    assert found == {"UNSUPPORTED_PROTOCOL"}

    def expect(code: str, got: str) -> None:
        assert got == code
        found.add(got)

    order(client, amount=0)
    expect("BAD_REQUEST", raised(client, "put_machine", "order", 1, {"states": []}))
    expect("NOT_FOUND", raised(client, "wal_read", 1))
    expect("MACHINE_NOT_FOUND", raised(client, "create_instance", "none", 1))
    expect("INSTANCE_NOT_FOUND", raised(client, "get_instance", "none"))
    other = {**ORDER, "initial": "paid"}
    expect("MACHINE_VERSION_EXISTS", raised(client, "put_machine", "order", 1, other))
    client.call("put_machine", "order", 2, ORDER)
    expect("MACHINE_VERSION_LIMIT_EXCEEDED", raised(client, "put_machine", "order", 3, ORDER))
    expect("INSTANCE_EXISTS", raised(client, "create_instance", "order", 1, "o-1"))
    expect("INVALID_TRANSITION", raised(client, "apply_event", "o-1", "SHIP"))
    expect("GUARD_FAILED", raised(client, "apply_event", "o-1", "PAY"))
    expect("CONFLICT", raised(client, "apply_event", "o-1", "PAY", expected_state="paid"))
    expect(
        "CONFLICT", answered("APPLY_EVENT", instance_id="o-1", event="PAY", expected_wal_offset=1)
    )

    address = (guarded_server.host, guarded_server.port)
    stranger = shipped.make("Client", *address)
    stranger.call("connect")
    expect("UNAUTHORIZED", raised(stranger, "list_machines"))
    stranger.call("close")
    guesser = shipped.make("Client", *address, token="wrong")
    with pytest.raises(Raised) as caught:
        guesser.call("connect")
    assert "AUTH_FAILED" in (caught.value.code or caught.value.message)
    found.add("AUTH_FAILED")

    for name in ("slow", "small"):
        (tmp_path / name).mkdir()
    with ServerProcess(tmp_path / "slow", {"RSTMDB_LIMIT_REQUESTS_PER_SECOND": "5"}) as slow:
        hasty = shipped.make("Client", slow.host, slow.port)
        hasty.call("connect")
        with pytest.raises(Raised) as caught:
            hasty.together(*[("ping", {})] * 50)
        expect("RATE_LIMITED", caught.value.code or "")
        hasty.call("close")
    small_files = ("prlimit", "--fsize=200000")
    with ServerProcess(tmp_path / "small", command=small_files) as small:
        writer = shipped.make("Client", small.host, small.port)
        writer.call("connect")
        expect("WAL_IO_ERROR", raised(writer, "put_machine", "order", 1, ORDER))
        assert writer.call("list_machines") == []
        writer.call("close")
    # No request makes a sound server answer INTERNAL_ERROR.
    assert found | {"INTERNAL_ERROR"} == set(shipped.order("members", what="ErrorCode"))


@covers("Connection.is_connected", "Connection.request")
def test_its_lower_level_sends_every_operation_it_knows(
    shipped: Shipped, connection: Thing
) -> None:
    used: set[str] = set()

    def ask(op: str, **params: Any) -> dict[str, Any]:
        used.add(op)
        response = connection.call("request", op, params)
        assert (response["status"], response["error"]) == ("ok", None), response
        result: dict[str, Any] = response["result"]
        return result

    assert connection.get("is_connected") is True
    hello = ask("HELLO", protocol_version=1, features=["batch", "no such"])
    assert (hello["wire_mode"], hello["features"]) == ("binary_json", ["batch"])
    assert ask("AUTH", method="bearer", token="any") == {"authenticated": True}
    assert ask("PING") == {"pong": True}
    assert ask("INFO")["server_name"] == "rstmdb"
    assert ask("PUT_MACHINE", machine="order", version=1, definition=ORDER)["created"] is True
    assert ask("GET_MACHINE", machine="order")["version"] == 1
    assert ask("LIST_MACHINES")["items"] == [{"machine": "order", "versions": [1]}]
    made = ask("CREATE_INSTANCE", instance_id="o-1", machine="order", version=1,
               initial_ctx={"amount": 1})  # fmt: skip
    paid = ask("APPLY_EVENT", instance_id="o-1", event="PAY", event_id="e-1",
               expected_wal_offset=made["wal_offset"])  # fmt: skip
    assert paid["event_id"] == "e-1"
    assert ask("GET_INSTANCE", instance_id="o-1")["last_event_id"] == "e-1"
    assert ask("LIST_INSTANCES", state="paid")["total"] == 1
    snapshot = ask("SNAPSHOT_INSTANCE", instance_id="o-1")
    assert snapshot["wal_offset"] == paid["wal_offset"]
    assert snapshot["size_bytes"] > 0
    ship = {"op": "APPLY_EVENT", "params": {"instance_id": "o-1", "event": "SHIP"}}
    both = ask("BATCH", mode="best_effort", ops=[ship, ship])["results"]
    assert [item["status"] for item in both] == ["ok", "error"]
    assert both[1]["error"]["code"] == "INVALID_TRANSITION"
    create = {"op": "CREATE_INSTANCE", "params": {"machine": "order", "version": 1}}
    together = ask("BATCH", mode="atomic", ops=[create, create])["results"]
    assert [item["status"] for item in together] == ["ok", "ok"]
    assert ask("WAL_READ", from_offset=paid["wal_offset"], limit=1)["records"]
    assert ask("WAL_STATS")["segment_count"] >= 1
    assert ask("COMPACT", force_snapshot=True)["snapshots_created"] == 1
    watch = ask("WATCH_INSTANCE", instance_id="o-1", from_offset=0)
    assert watch["current_state"] == "shipped"
    everything = ask("WATCH_ALL", from_offset=paid["wal_offset"])
    assert everything["wal_offset"] > paid["wal_offset"]
    assert ask("UNWATCH", subscription_id=watch["subscription_id"])["removed"] is True
    assert ask("DELETE_INSTANCE", instance_id="o-1")["deleted"] is True
    assert ask("FLUSH_ALL")["instances_removed"] == 2
    assert ask("BYE") == {"goodbye": True}
    assert used == set(shipped.order("members", what="Operation"))


@covers("Connection.events")
def test_its_lower_level_streams_events_from_an_offset(shipped: Shipped, connection: Thing) -> None:
    def ask(op: str, **params: Any) -> Any:
        return connection.call("request", op, params)["result"]

    ask("PUT_MACHINE", machine="order", version=1, definition=ORDER)
    ask("CREATE_INSTANCE", instance_id="o-1", machine="order", version=1, initial_ctx={"amount": 1})
    first = ask("APPLY_EVENT", instance_id="o-1", event="PAY")["wal_offset"]
    second = ask("APPLY_EVENT", instance_id="o-1", event="SHIP")["wal_offset"]
    ask("WATCH_INSTANCE", instance_id="o-1", from_offset=first)
    assert [event["wal_offset"] for event in connection.events(2)] == [first, second]


@covers("Frame", "Frame.encode", "Frame.decode")
def test_its_frames_are_our_frames(shipped: Shipped) -> None:
    payload = '{"id":"1","op":"PING","text":"Grüße"}'.encode()
    frame = shipped.make("Frame", {"hex": payload.hex()})
    assert frame.call("encode") == {"hex": encode_frame(payload).hex()}
    stream = (encode_frame(payload) + b"RCP").hex()
    decoded, rest = shipped.static("Frame").call("decode", {"hex": stream})
    assert decoded == {"payload": {"hex": payload.hex()}}
    assert rest == {"hex": b"RCP".hex()}


def test_no_public_name_of_it_is_left_out(shipped: Shipped) -> None:
    public = {
        f"{kind}.{name}"
        for kind in ("Client", "Connection", "Frame")
        for name in shipped.order("public", what=kind)
    }
    assert public
    assert public - COVERED == set()
    assert {name for name in COVERED if "." in name} - public == set()
