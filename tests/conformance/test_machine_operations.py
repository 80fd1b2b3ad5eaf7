"""PUT_MACHINE, GET_MACHINE, LIST_MACHINES, over a real socket."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from wire import Refused, Wire

TINY: dict[str, Any] = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [{"from": "a", "event": "GO", "to": "b"}],
}
LONG: dict[str, Any] = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [
        {"from": "a", "event": f"E{n}", "to": "b", "guard": f"ctx.n == {n}"} for n in range(500)
    ],
}
"""Long enough to be read beside what other connections ask for."""


def put(wire: Wire, version: int = 1, definition: Any = None, **more: Any) -> dict[str, Any]:
    return wire.call(
        "PUT_MACHINE", machine="m", version=version, definition=definition or TINY, **more
    )


def test_a_new_machine_is_stored_and_its_checksum_told(wire: Wire) -> None:
    normal = {**TINY, "transitions": [{"from": ["a"], "event": "GO", "to": "b"}]}
    text = json.dumps(normal, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    answer = wire.request("PUT_MACHINE", machine="m", version=1, definition=TINY)
    assert answer["result"] == {
        "machine": "m",
        "version": 1,
        "stored_checksum": checksum,
        "created": True,
    }
    assert isinstance(answer["meta"]["wal_offset"], int)
    assert answer["meta"]["server_time"].endswith("Z")


def test_the_same_definition_again_is_no_error(wire: Wire) -> None:
    put(wire)
    head = wire.call("WAL_STATS")["latest_offset"]
    assert put(wire)["created"] is False
    listed = {**TINY, "transitions": [{"from": ["a"], "event": "GO", "to": "b"}]}
    assert put(wire, definition=listed)["created"] is False
    assert wire.call("WAL_STATS")["latest_offset"] == head


def test_another_definition_for_the_same_version_is_refused(wire: Wire) -> None:
    put(wire)
    with pytest.raises(Refused) as refused:
        put(wire, definition={**TINY, "initial": "b"})
    assert refused.value.code == "MACHINE_VERSION_EXISTS"


def test_the_right_checksum_passes_and_another_is_refused(wire: Wire) -> None:
    checksum = put(wire)["stored_checksum"]
    assert put(wire, version=2, checksum=checksum)["created"] is True
    with pytest.raises(Refused) as refused:
        put(wire, version=3, checksum="0" * 64)
    assert refused.value.code == "BAD_REQUEST"


def test_more_versions_than_the_limit_are_refused(wire: Wire) -> None:
    for version in (1, 2, 3):
        put(wire, version)
    with pytest.raises(Refused) as refused:
        put(wire, 4)
    assert refused.value.code == "MACHINE_VERSION_LIMIT_EXCEEDED"


@pytest.mark.parametrize("version", [0, -1, 2**32, 1.5, "1", None])
def test_a_version_outside_its_range_is_refused(wire: Wire, version: object) -> None:
    answer = wire.request("PUT_MACHINE", machine="m", version=version, definition=TINY)
    assert answer["error"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("definition", "part"),
    [
        ([], "object"),
        ({}, "states"),
        ({**TINY, "states": []}, "states"),
        ({**TINY, "states": ["a", "a", "b"]}, "a"),
        ({**TINY, "initial": "z"}, "z"),
        ({**TINY, "transitions": [{"from": "z", "event": "GO", "to": "b"}]}, "z"),
        ({**TINY, "transitions": [{"from": "a", "event": "GO", "to": "z"}]}, "z"),
        ({**TINY, "transitions": [{"from": "a", "event": "", "to": "b"}]}, "event"),
        (
            {**TINY, "transitions": [{"from": "a", "event": "G", "to": "b", "gaurd": "ctx.x"}]},
            "guard",
        ),
        ({**TINY, "state": ["a"]}, "states"),
        (
            {**TINY, "transitions": [{"from": "a", "event": "G", "to": "b", "guard": "ctx.x &"}]},
            "guard",
        ),
        ({**TINY, "transitions": [*TINY["transitions"], *TINY["transitions"]]}, "never"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused_by_name(
    wire: Wire, definition: object, part: str
) -> None:
    answer = wire.request("PUT_MACHINE", machine="m", version=1, definition=definition)
    assert answer["error"]["code"] == "BAD_REQUEST"
    assert part in answer["error"]["message"]
    assert wire.call("LIST_MACHINES") == {"items": []}


def test_a_machine_is_read_in_normal_form_the_newest_version_first(wire: Wire) -> None:
    put(wire, 1)
    checksum = put(wire, 2, {**TINY, "initial": "b", "meta": {"x": 1}})["stored_checksum"]
    newest = wire.call("GET_MACHINE", machine="m")
    assert newest == {
        "machine": "m",
        "version": 2,
        "definition": {
            "states": ["a", "b"],
            "initial": "b",
            "transitions": [{"from": ["a"], "event": "GO", "to": "b"}],
            "meta": {"x": 1},
        },
        "checksum": checksum,
    }
    assert wire.call("GET_MACHINE", machine="m", version=1)["version"] == 1


def test_an_unknown_machine_or_version_is_not_found(wire: Wire) -> None:
    put(wire)
    for params in ({"machine": "x"}, {"machine": "m", "version": 9}):
        answer = wire.request("GET_MACHINE", **params)
        assert answer["error"]["code"] == "MACHINE_NOT_FOUND"


def test_machines_are_listed_sorted_and_in_pages(wire: Wire) -> None:
    for name, version in (("b", 2), ("a", 1), ("b", 1), ("c", 1)):
        wire.call("PUT_MACHINE", machine=name, version=version, definition=TINY)
    everything = wire.call("LIST_MACHINES")["items"]
    assert everything == [
        {"machine": "a", "versions": [1]},
        {"machine": "b", "versions": [1, 2]},
        {"machine": "c", "versions": [1]},
    ]
    assert wire.call("LIST_MACHINES", limit=1, offset=1)["items"] == everything[1:2]


def test_requests_behind_a_long_definition_find_the_machine(wire: Wire) -> None:
    asked = [
        wire.send("PUT_MACHINE", {"machine": "m", "version": 1, "definition": LONG}),
        wire.send("CREATE_INSTANCE", {"machine": "m", "version": 1, "instance_id": "i",
                                      "initial_ctx": {"n": 7}}),
        wire.send("APPLY_EVENT", {"instance_id": "i", "event": "E7"}),
        wire.send("PUT_MACHINE", {"machine": "m", "version": 1, "definition": LONG}),
        wire.send("PUT_MACHINE", {"machine": "m", "version": 1, "definition": TINY}),
        wire.send("PUT_MACHINE", {"machine": "m", "version": 1,
                                  "definition": {**LONG, "initial": "b"}}),
        wire.send("GET_INSTANCE", {"instance_id": "i"}),
    ]  # fmt: skip
    first, _, applied, again, other, changed, instance = map(wire.response, asked)
    assert first["result"]["created"] is True
    assert first["meta"]["wal_offset"] > 0
    assert first["meta"]["server_time"].endswith("Z")
    assert applied["result"]["to_state"] == "b"
    assert again["result"] == {**first["result"], "created": False}
    for refused in (other, changed):
        assert refused["error"]["code"] == "MACHINE_VERSION_EXISTS"
    assert instance["result"]["state"] == "b"
    assert len(wire.call("GET_MACHINE", machine="m")["definition"]["transitions"]) == 500


def test_a_long_definition_is_refused_as_a_short_one_is(wire: Wire) -> None:
    transitions = [*LONG["transitions"], {"from": "a", "event": "X", "to": "c"}]
    for params, place in (
        ({"definition": {**LONG, "transitions": transitions}}, "transitions[500].to is 'c'"),
        ({"definition": LONG, "checksum": "00"}, "checksum is '00'"),
        ({"definition": {**LONG, "meta": {"m": "x" * (1 << 20)}}}, "at most 1048576"),
        ({"definition": {**LONG, "meta": {"m": "x" * (4 << 20)}}}, "at most 4194304"),
        ({"definition": LONG, "machine": ""}, "machine must not be empty"),
    ):
        answer = wire.request("PUT_MACHINE", **{"machine": "m", "version": 1} | params)
        assert answer["error"]["code"] == "BAD_REQUEST"
        assert place in answer["error"]["message"]
    assert wire.call("LIST_MACHINES")["items"] == []


def test_long_definitions_count_among_the_versions(wire: Wire) -> None:
    asked = [wire.send("PUT_MACHINE", {"machine": "m", "version": version, "definition": LONG})
             for version in (1, 2, 3, 4)]  # fmt: skip
    *taken, refused = map(wire.response, asked)
    assert [answer["result"]["version"] for answer in taken] == [1, 2, 3]
    assert refused["error"]["code"] == "MACHINE_VERSION_LIMIT_EXCEEDED"


@pytest.mark.parametrize("mode", ["atomic", "best_effort"])
def test_a_batch_with_long_definitions_is_one_unit_in_its_place(wire: Wire, mode: str) -> None:
    def batch(last: dict[str, Any]) -> list[dict[str, Any]]:
        one = {"machine": "m", "version": 1}
        return [
            {"op": "PUT_MACHINE", "params": {**one, "definition": LONG}},
            {
                "op": "CREATE_INSTANCE",
                "params": {**one, "instance_id": "i", "initial_ctx": {"n": 1}},
            },
            {"op": "PUT_MACHINE", "params": {"machine": "n", "version": 1, "definition": last}},
            {"op": "APPLY_EVENT", "params": {"instance_id": "i", "event": "E1"}},
        ]

    broken = {**LONG, "initial": "nowhere"}
    asked = [
        wire.send("BATCH", {"mode": mode, "ops": batch(broken)}),
        wire.send("GET_INSTANCE", {"instance_id": "i"}),
        wire.send("BATCH", {"mode": mode, "ops": batch(TINY)}),
        wire.send("GET_INSTANCE", {"instance_id": "i"}),
    ]
    first, between, second, after = map(wire.response, asked)
    if mode == "atomic":
        assert first["error"]["code"] == "BAD_REQUEST"
        assert first["error"]["details"]["index"] == 2
        assert "initial is 'nowhere'" in first["error"]["message"]
        assert between["error"]["code"] == "INSTANCE_NOT_FOUND"
        assert [item["status"] for item in second["result"]["results"]] == ["ok"] * 4
        assert after["result"]["state"] == "b"
        assert second["meta"]["wal_offset"] == after["result"]["last_wal_offset"]
    else:
        statuses = [item["status"] for item in first["result"]["results"]]
        assert statuses == ["ok", "ok", "error", "ok"]
        assert "initial is 'nowhere'" in first["result"]["results"][2]["error"]["message"]
        assert between["result"]["state"] == "b"
        assert second["result"]["results"][0]["result"]["created"] is False
        assert second["result"]["results"][2]["status"] == "ok"
