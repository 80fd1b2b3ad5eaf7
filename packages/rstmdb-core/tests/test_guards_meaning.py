"""What a guard means, by table and against a reference evaluator."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_core import GuardSyntaxError, compile_guard
from rstmdb_core._guard import And, Compare, Field, Node, Not, Or, parse_guard

CONTEXT: dict[str, Any] = {
    "zero": 0,
    "one": 1,
    "float": 1.0,
    "half": 0.5,
    "big": 2**63,
    "yes": True,
    "no": False,
    "nil": None,
    "text": "abc",
    "digits": "1",
    "empty": "",
    "list": [1, 2],
    "none": [],
    "object": {"x": {"y": 5}, "length": "own"},
    "bare": {},
    "length": 7,
    "straße": "é",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        *[(f"ctx.{name}", True) for name in ("one", "half", "yes", "text", "list", "object")],
        *[
            (f"ctx.{name}", False)
            for name in ("zero", "no", "nil", "empty", "none", "bare", "gone")
        ],
        ("ctx.gone == null", True),
        ("ctx.gone != null", False),
        ("ctx.nil == null", True),
        ("ctx.zero == null", False),
        ("ctx.one == 1", True),
        ("ctx.one == 1.0", True),
        ("ctx.float == 1", True),
        ("ctx.one == true", False),
        ("ctx.yes == 1", False),
        ("ctx.yes == 1.0", False),
        ("ctx.no == 0", False),
        ("ctx.no != 0", True),
        ("ctx.yes == true", True),
        ("ctx.yes != false", True),
        ('ctx.digits == "1"', True),
        ("ctx.digits == 1", False),
        ('ctx.one == "1"', False),
        ('ctx.one != "1"', True),
        ("ctx.big == 9223372036854775808", True),
        ("ctx.big == 9223372036854775807", False),
        ("ctx.big > 9223372036854775807", True),
        ("ctx.big == 9223372036854775808.0", True),
        ("ctx.list == 2", False),
        ("ctx.list != 2", True),
        ("ctx.list == null", False),
        ("ctx.object != null", True),
        ("ctx.one > 0", True),
        ("ctx.one >= 1", True),
        ("ctx.one < 1", False),
        ("ctx.one <= 1.5", True),
        ("ctx.yes > 0", False),
        ("ctx.yes <= 1", False),
        ("ctx.digits > 0", False),
        ("ctx.gone < 1", False),
        ("!(ctx.gone < 1)", True),
        ("ctx.object.x.y == 5", True),
        ("ctx.object.x.y.z == null", True),
        ("ctx.text.x == null", True),
        ("ctx.text.length == 3", True),
        ("ctx.list.length == 2", True),
        ("ctx.none.length == 0", True),
        ("ctx.none.length", False),
        ('ctx.object.length == "own"', True),
        ("ctx.bare.length == null", True),
        ("ctx.length == 7", True),
        ("ctx.one.length == null", True),
        ("ctx.text.length.length == null", True),
        ("ctx.object.x.y > 4 && ctx.object.x.y < 6", True),
        ("ctx.straße.length == 1", True),
        ('ctx.straße == "\\u00e9"', True),
        ("!ctx.one == 1", False),
        ("ctx.zero || ctx.one && ctx.zero", False),
        ("ctx.one || ctx.one && ctx.zero", True),
        ("(ctx.one || ctx.one) && ctx.zero", False),
        ("ctx.zero || ctx.zero || ctx.zero || ctx.one", True),
        ("ctx.one && ctx.one && ctx.one && ctx.zero", False),
        ("ctx.one && ctx.one && ctx.yes", True),
        ("ctx.zero || ctx.no || ctx.empty", False),
    ],
)
def test_a_guard_means(text: str, holds: bool) -> None:
    assert compile_guard(text)(CONTEXT) is holds or compile_guard(text)(CONTEXT) == holds


NAMES = ["a", "b", "length", "é_1"]
LITERALS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=3),
)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
COMPARISONS = st.one_of(
    st.builds(Compare, PATHS, st.sampled_from(["==", "!="]), LITERALS),
    st.builds(
        Compare,
        PATHS,
        st.sampled_from([">", ">=", "<", "<="]),
        st.one_of(st.integers(-3, 3), st.floats(-3, 3)),
    ),
)


def _operands(nodes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(nodes, min_size=2, max_size=4).map(tuple)
    return st.one_of(st.builds(Not, nodes), st.builds(And, several), st.builds(Or, several))


NODES: st.SearchStrategy[Node] = st.recursive(
    st.one_of(st.builds(Field, PATHS), COMPARISONS), _operands, max_leaves=8
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LITERALS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=6,
)
CONTEXTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


def printed(node: Node) -> str:
    match node:
        case Field(path):
            return "ctx." + ".".join(path)
        case Compare(path, op, value):
            return f"ctx.{'.'.join(path)} {op} {json.dumps(value)}"
        case Not(operand):
            return f"!({printed(operand)})"
        case And(operands):
            return " && ".join(f"({printed(operand)})" for operand in operands)
        case Or(operands):
            return "||".join(f"({printed(operand)})" for operand in operands)


def reference(node: Node, ctx: dict[str, Any]) -> bool:
    match node:
        case Field(path):
            return looked_up(path, ctx) not in (None, False, 0, "", [], {})
        case Compare(path, op, value):
            return compared(looked_up(path, ctx), op, value)
        case Not(operand):
            return not reference(operand, ctx)
        case And(operands):
            return all(reference(operand, ctx) for operand in operands)
        case Or(operands):
            return any(reference(operand, ctx) for operand in operands)


def looked_up(path: tuple[str, ...], value: Any) -> Any:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, (list, str)) and name == "length":
            value = len(value)
        else:
            return None
    return value


def json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def compared(found: Any, op: str, value: Any) -> bool:
    same = json_type(found) == json_type(value) and json_type(found) not in ("list", "dict")
    if op == "==":
        return same and bool(found == value)
    if op == "!=":
        return not (same and found == value)
    if json_type(found) != "number":
        return False
    outcomes = {">": found > value, ">=": found >= value, "<": found < value, "<=": found <= value}
    return bool(outcomes[op])


@settings(max_examples=300, deadline=None)
@given(NODES, CONTEXTS)
def test_a_printed_guard_means_what_the_reference_says(node: Node, ctx: dict[str, Any]) -> None:
    text = printed(node)
    if len(text) <= 4096:
        assert bool(compile_guard(text)(ctx)) == reference(node, ctx)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text('ctx.ab01 ()!&|=<>"-', max_size=40))
def test_any_text_parses_or_fails_cleanly(text: str) -> None:
    position = 0
    try:
        parse_guard(text)
    except GuardSyntaxError as error:
        position = error.position
    assert 0 <= position <= len(text)


def test_a_guard_changes_nothing() -> None:
    ctx: dict[str, object] = {"a": [1], "b": {"c": 1}}
    compile_guard("ctx.a.length == 1 && ctx.b.c > 0 && ctx.b.d == null")(ctx)
    assert ctx == {"a": [1], "b": {"c": 1}}


@pytest.mark.slow
def test_three_comparisons_take_less_than_a_microsecond() -> None:
    guard = compile_guard('ctx.n > 1 && ctx.m == 2 && ctx.s == "x"')
    ctx = {"n": 2, "m": 2, "s": "x"}
    start = time.perf_counter()
    for _ in range(100_000):
        guard(ctx)
    assert time.perf_counter() - start < 0.1
