"""A definition as JSON text is read as its value would be, and refused by its size unread."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from rstmdb_core import (
    EngineOptions,
    InvalidRequest,
    PutMachine,
    State,
    _definition_json,
    prepare_machine,
    put_machine,
    read_definition,
)
from rstmdb_core._definition_json import least_bytes

MIB = 1 << 20
DOOR: dict[str, Any] = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [{"from": "a", "event": "go", "to": "b", "guard": "ctx.x"}],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
)


def text(definition: object, **options: Any) -> Raw:
    return Raw(json.dumps(definition, **options).encode())


def refusal(definition: object) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read_definition(definition, strict=True)
    return refused.value.message


def test_text_is_read_as_its_value_is() -> None:
    one = {**DOOR, "meta": {"é": [1, 2.5, None]}}
    normal, guards = read_definition(text(one), strict=True)
    assert (normal, list(guards)) == (read_definition(one, strict=True)[0], ["ctx.x"])
    assert read_definition(text(one, indent=4), strict=True)[0] == normal
    assert read_definition(text({**one, "x": 1}), strict=False)[0] == normal


@pytest.mark.parametrize(
    "broken",
    [
        None,
        True,
        7,
        "x",
        [1, 2],
        {},
        {**DOOR, "stats": []},
        {**DOOR, "states": ["a", 1]},
        {**DOOR, "initial": "c"},
        {**DOOR, "meta": [1]},
        {**DOOR, "meta": {"n": [2**64]}},
        {**DOOR, "transitions": [{**DOOR["transitions"][0], "gaurd": "ctx.y"}]},
        {**DOOR, "transitions": [DOOR["transitions"][0], {"from": "a"}]},
        {**DOOR, "transitions": [{**DOOR["transitions"][0], "guard": "ctx."}]},
    ],
    ids=repr,
)
def test_text_is_refused_for_what_its_value_is_refused_for(broken: object) -> None:
    assert refusal(text(broken)) == refusal(broken)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"{", "the definition is not JSON"),
        (b'{"meta":{"x":"\xff"}}', "meta is not JSON"),
        (b'{"meta":{"x":1e999}}', "meta holds a number out of range"),
        (b'{"meta":' + b"[" * 50_000, "nested too deeply"),
        (b"[" + b"[]," * MIB + b"[]]", "the definition is .* bytes of JSON; at most"),
        (b'{"states":["x"],"initial":"x","meta":{"x":"%s"}}' % (b"y" * MIB), "at most 1048576"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_text_that_no_value_can_be_made_of_is_refused(broken: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_definition(Raw(broken), strict=True)


def test_white_space_and_escapes_do_not_count() -> None:
    wide = {**DOOR, "meta": {"x": ["é" * 200_000, ["/", 1] * 20_000]}}
    sent = text(wide, indent=20)
    assert len(memoryview(sent)) > 2 * MIB
    assert read_definition(sent, strict=True)[0]["meta"] == wide["meta"]


@given(JSON, st.booleans(), st.sampled_from([None, 0, 3]))
def test_the_least_size_is_never_more_than_the_shortest_text(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    sent = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert least_bytes(Raw(sent.encode())) <= len(msgspec.json.encode(value))


def test_least_size_over_many_pieces() -> None:
    sent = json.dumps(["é" * 500_000, "x" * 100_000])
    shortest = len(json.dumps(["é" * 500_000, "x" * 100_000], ensure_ascii=False).encode())
    assert shortest // 2 < least_bytes(Raw(sent.encode())) <= shortest


def test_a_prepared_definition_is_put_as_one_that_is_not() -> None:
    state, options = State(), EngineOptions()
    blueprint = prepare_machine("door", 1, text(DOOR))
    prepared = put_machine(state, options, 5, "door", 1, blueprint)
    assert prepared == put_machine(state, options, 5, "door", 1, DOOR)
    assert isinstance(prepared, PutMachine)
    assert prepared.definition_hash == blueprint.checksum
    with pytest.raises(InvalidRequest, match="checksum"):
        put_machine(state, options, 5, "door", 1, blueprint, "00")


@given(JSON, st.integers(1, 40), st.sampled_from([None, 1]))
def test_in_whatever_pieces_text_is_decoded_its_value_is_the_same(
    value: object, call_bytes: int, indent: int | None
) -> None:
    sent = Raw(json.dumps(value, indent=indent).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_definition_json, "_CALL_BYTES", call_bytes)
        assert _definition_json.value_of(sent, "x") == msgspec.json.decode(bytes(sent))


@pytest.mark.parametrize(
    "value",
    [
        [[]] * 200_000,
        [{}] * 200_000,
        [[[[1, "],", "},"]] * 60_000]],
        ["x" * 100_000, *([0] * 100_000)],
        ['"],{"' * 3] * 30_000,
        [{"a": [1, 2, {"b": '"},'}]}] * 20_000,
        {"a": {"b": [{str(n): n} for n in range(50_000)]}},
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_large_values_are_decoded_in_pieces(value: object) -> None:
    sent = Raw(json.dumps(value).encode())
    assert _definition_json.value_of(sent, "x") == value


def test_what_is_wrong_deep_inside_of_a_large_value_is_found() -> None:
    for broken, message in (
        (b'{"a":[' + b"1," * 100_000 + b"1e999]}", "x holds a number out of range"),
        (b"[" + b"[]," * 100_000 + b"[}]", "x is not JSON"),
        (b'["\xff",' + b"[]," * 100_000 + b"[]]", "x is not JSON"),
        (b'{"a":' * 900 + b"1" * 70_000 + b"}" * 900, "x is nested too deeply|out of range"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            _definition_json.value_of(Raw(broken), "x")


@pytest.mark.parametrize(("name", "version"), [("", 1), ("door", 0)])
def test_name_and_version_are_refused_before_the_definition(name: str, version: int) -> None:
    with pytest.raises(InvalidRequest, match=r"machine|version"):
        prepare_machine(name, version, Raw(b"{}"))
