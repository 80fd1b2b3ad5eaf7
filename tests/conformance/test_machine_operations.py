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
