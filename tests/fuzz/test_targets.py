"""The short form of the fuzzing: shaped by hypothesis, and all that was ever found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, VARIABLES, conversations, frames, guards, messages
from fuzz.targets import configuration as configured
from rstmdb_protocol import OPERATIONS
from rstmdb_server.config import SETTINGS
from wire import frame, header

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(CORPUS.glob("*/*"))
quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name[:20]}")
def test_what_was_found_before_is_not_found_again(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_seeds() -> None:
    assert {path.parent.name for path in KEPT} == set(TARGETS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
fields = sorted({name for one in OPERATIONS.values() for name in one.params.__struct_fields__})
params = st.dictionaries(st.sampled_from(fields) | st.text(max_size=5), json_values, max_size=6)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=5) | json_values,
        "op": st.sampled_from(sorted(OPERATIONS)) | st.text(max_size=5) | json_values,
        "params": params | json_values,
        "type": st.just("request") | json_values,
        "meta": st.fixed_dictionaries({}, optional={"trace_id": st.text()}) | json_values,
    },
)
requests = st.one_of(envelopes, json_values).map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with a few of them cut out, written over or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


pieces = st.one_of(
    requests.map(frame),
    st.binary(max_size=40).map(frame),
    st.binary(max_size=200).map(lambda data: frame(zstandard.compress(data), 2)),
    st.builds(header, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 31)),
    requests.map(lambda payload: payload + b"\n"),
    st.binary(max_size=30),
)
streams = damaged(st.lists(pieces, max_size=5).map(b"".join))


@quickly
@given(st.builds(lambda first, stream: bytes([first]) + stream, st.integers(0, 255), streams))
def test_any_stream_is_cut_as_the_second_parser_cuts_it(data: bytes) -> None:
    frames(data)


@quickly
@given(damaged(requests))
def test_any_payload_is_read_as_pythons_json_reads_it(data: bytes) -> None:
    messages(data)


@quickly
@given(streams)
def test_any_conversation_is_answered_or_ended(data: bytes) -> None:
    conversations(data)


names = st.text("abcdef_é1", min_size=1, max_size=3) | st.just("length")
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "ctx." + ".".join(parts))
literals = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.text(max_size=4).map(json.dumps),
    st.sampled_from(["true", "false", "null", "01", "1.", "'x'", "NaN", "-"]),
)
operators = st.sampled_from([">", ">=", "<", "<=", "==", "!=", "=", "==="])
comparisons = paths | st.builds(lambda *parts: " ".join(parts), paths, operators, literals)
guard_texts = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"({one})"),
        st.builds(lambda a, op, b: f"{a}{op}{b}", inner, st.sampled_from([" && ", "||"]), inner),
    ),
    max_leaves=6,
)


@quickly
@given(damaged(guard_texts.map(str.encode)))
def test_any_guard_means_what_the_python_expression_means(data: bytes) -> None:
    guards(data)


def yaml_of(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree).encode()  # which YAML takes in


@st.composite
def settings_trees(draw: st.DrawFn) -> bytes:
    tree: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=6)):
        section, _, name = key.partition(".")
        value = draw(
            st.one_of(json_values, st.integers(-2, 70_000), st.sampled_from(["every_write", ""]))
        )
        tree.setdefault(section, {})[name] = value
    lines = [bytes([draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 20, 31]))])
             + draw(st.text(max_size=8)).replace("\n", "").encode()
             for _ in range(draw(st.integers(0, 3)))]  # fmt: skip
    return b"\n".join([yaml_of(tree), *lines])


@quickly
@given(damaged(settings_trees()) | st.binary(max_size=60))
def test_any_configuration_is_taken_whole_or_refused_with_its_place(data: bytes) -> None:
    configured(data)


def test_the_variables_that_are_fuzzed_are_those_there_are() -> None:
    assert len(VARIABLES) == len(SETTINGS)
