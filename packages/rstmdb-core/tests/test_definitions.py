"""Which definitions are refused and where, and what the normal form is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from rstmdb_core import InvalidRequest, checksum_of, read_definition


def definition(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "states": ["a", "b"],
        "initial": "a",
        "transitions": [{"from": "a", "event": "go", "to": "b"}],
    }
    return {**base, **changes}


def transition(**changes: Any) -> dict[str, Any]:
    return definition(transitions=[{"from": "a", "event": "go", "to": "b", **changes}])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (None, "definition must be an object, not null"),
        ([], "definition must be an object, not an array"),
        ("x", "definition must be an object, not a string"),
        ({}, "states must be an array, not null"),
        (definition(states=[]), "at least one state"),
        (definition(states="a"), "states must be an array, not a string"),
        (definition(states=["a", 1]), r"states\[1\] must be a string, not a number"),
        (definition(states=["a", ""]), r"states\[1\] must not be empty"),
        (definition(states=["a", "b", "a"]), r"states\[2\] repeats 'a', which is states\[0\]"),
        (definition(states=["a", "b", "x" * 257]), r"states\[2\] is 257 bytes long; at most 256"),
        (definition(states=["a", "b", "é" * 129]), r"states\[2\] is 258 bytes long"),
        (definition(states=["a", "b", "x\n"]), r"control character U\+000A at character 1"),
        (definition(states=["a", "b", "x\x85"]), r"control character U\+0085"),
        (definition(states=["a", "b", "\ud800"]), "lone surrogate at character 0"),
        (definition(initial=None), "initial must be a string, not null"),
        (definition(initial="A"), "initial is 'A', which is not in states"),
        (definition(transitions=None), "transitions must be an array, not null"),
        (definition(transitions=[1]), r"transitions\[0\] must be an object, not a number"),
        (transition(**{"from": None}), r"transitions\[0\].from must be a state or an array"),
        (transition(**{"from": []}), r"transitions\[0\].from must name at least one"),
        (transition(**{"from": ["a", "c"]}), r"transitions\[0\].from\[1\] is 'c', which is not"),
        (transition(**{"from": ["a", "a"]}), r"transitions\[0\].from\[1\] repeats 'a'"),
        (transition(to="c"), r"transitions\[0\].to is 'c', which is not in states"),
        (transition(event=""), r"transitions\[0\].event must not be empty"),
        (transition(event=7), r"transitions\[0\].event must be a string, not a number"),
        (transition(guard=""), r"transitions\[0\].guard does not parse: .* position 0"),
        (transition(guard="ctx.a ="), r"transitions\[0\].guard does not parse: .* position 6"),
        (transition(guard=True), r"transitions\[0\].guard must be a string, not a boolean"),
        (transition(gaurd="ctx.a"), r"unknown key 'gaurd'; did you mean 'guard'\?"),
        (transition(Guard="ctx.a"), r"unknown key 'Guard'; did you mean 'guard'\?"),
        (transition(zzz=1), r"unknown key 'zzz'; known are from, event, to, guard"),
        (definition(state=["a"]), r"definition has the unknown key 'state'; did you mean 'states'"),
        (definition(meta=[]), "meta must be an object, not an array"),
        (definition(meta={"n": {"m": [2**64]}}), r"meta.n.m\[0\] is an integer of 65 bits"),
        (definition(meta={"s": "\ud800"}), "not valid Unicode"),
        (definition(meta={"s": "x" * 1_048_576}), "at most 1048576 are allowed"),
        (definition(states=[str(i) for i in range(10_001)], initial="0"), "at most 10000"),
        (definition(transitions=[{}] * 100_001), "at most 100000"),
    ],
)
def test_a_broken_definition_is_refused_at_its_place(broken: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_definition(broken, strict=True)


def test_a_misspelt_state_gets_a_hint() -> None:
    with pytest.raises(InvalidRequest, match="did you mean 'approved'"):
        read_definition(definition(states=["approved", "b"], initial="aproved"), strict=True)


def test_a_transition_behind_an_unguarded_one_can_never_run() -> None:
    first = {"from": ["a", "b"], "event": "go", "to": "b"}
    second = {"from": "b", "event": "go", "to": "a", "guard": "ctx.x"}
    with pytest.raises(InvalidRequest, match=r"transitions\[1\] can never run: transitions\[0\]"):
        read_definition(definition(transitions=[first, second]), strict=True)
    read_definition(definition(transitions=[{**second, "from": "b"}, first]), strict=True)


def test_the_normal_form_lists_sources_and_leaves_out_what_is_absent() -> None:
    source = {
        "meta": None,
        "initial": "a",
        "transitions": [{"guard": None, "to": "b", "event": "go", "from": "a"}],
        "states": ["a", "b"],
    }
    normal, _ = read_definition(source, strict=True)
    assert json.dumps(normal) == json.dumps(
        {
            "states": ["a", "b"],
            "initial": "a",
            "transitions": [{"from": ["a"], "event": "go", "to": "b"}],
        }
    )
    again, _ = read_definition(normal, strict=True)
    assert again == normal


def test_the_checksum_is_the_sha256_of_sorted_compact_utf8_json() -> None:
    normal, _ = read_definition(definition(meta={"z": "é", "a": [1, 1.5, None, True]}), strict=True)
    text = json.dumps(normal, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert checksum_of(normal) == hashlib.sha256(text.encode()).hexdigest()


def test_history_is_read_leniently_and_an_unreadable_guard_is_a_closed_door() -> None:
    old = definition(
        states=["a", "b", "a"],
        colour="red",
        transitions=[{"from": ["a", "a"], "event": "go", "to": "b", "guard": "a(", "x": 1}],
    )
    normal, guards = read_definition(old, strict=False)
    assert normal["states"] == ["a", "b"]
    assert normal["transitions"] == [{"from": ["a"], "event": "go", "to": "b", "guard": "a("}]
    assert guards["a("]({"a": True}) is False


def test_the_limits_themselves_are_allowed() -> None:
    states = [str(i) for i in range(10_000)]
    transitions = [
        {"from": "0", "event": str(i % 8), "to": "1", "guard": "ctx.a"} for i in range(100)
    ]
    read_definition({"states": states, "initial": "0", "transitions": transitions}, strict=True)
