"""Which guards are refused, where, and which are taken."""

from __future__ import annotations

import pytest

from rstmdb_core import GuardSyntaxError, compile_guard


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", 0, "expected a field"),
        ("   ", 3, "expected a field"),
        ("ctx", 3, "expected '.'"),
        ("ctx.", 4, "expected a name"),
        ("ctx.a.", 6, "expected a name"),
        ("ctx .a", 3, "expected '.'"),
        ("ctx. a", 4, "expected a name"),
        ("ctx.a-b", 5, "expected the end of the guard, found '-'"),
        ("context.a", 0, "expected a field"),
        ("a == 1", 0, "expected a field"),
        ("1 == ctx.a", 0, "expected a field"),
        ("true", 0, "expected a field"),
        ("ctx.a = 1", 6, "write '=='"),
        ("ctx.a ==", 8, "expected a number, a string"),
        ("ctx.a === 1", 8, "expected a number, a string"),
        ("ctx.a == ctx.b", 9, "expected a number, a string"),
        ("ctx.a == 'x'", 9, "expected a number, a string"),
        ("ctx.a == True", 9, "expected a number, a string"),
        ("ctx.a == nulls", 9, "expected a number, a string"),
        ("ctx.a == 01", 9, "not a JSON number"),
        ("ctx.a == +1", 9, "expected a number, a string"),
        ("ctx.a == .5", 9, "expected a number, a string"),
        ("ctx.a == 1.", 9, "not a JSON number"),
        ("ctx.a == 1e", 9, "not a JSON number"),
        ("ctx.a == 0x10", 9, "not a JSON number"),
        ("ctx.a == 1_000", 9, "not a JSON number"),
        ("ctx.a == 1e999", 9, "out of range"),
        ("ctx.a == NaN", 9, "expected a number, a string"),
        ('ctx.a == "x', 9, "no end"),
        ('ctx.a == "x\ny"', 9, "no end"),
        (r'ctx.a == "\q"', 9, "not a valid JSON string"),
        (r'ctx.a == "\ud800"', 9, "not a valid JSON string"),
        ('ctx.a > "x"', 8, "expected a number after '>'"),
        ("ctx.a >= true", 9, "expected a number after '>='"),
        ("ctx.a < null", 8, "expected a number after '<'"),
        ("ctx.a == 1 ctx.b", 11, "expected the end"),
        ("ctx.a == 1)", 10, "expected the end"),
        ("(ctx.a == 1", 11, "expected ')'"),
        ("()", 1, "expected a field"),
        ("ctx.a &&", 8, "expected a field"),
        ("&& ctx.a", 0, "expected a field"),
        ("ctx.a & ctx.b", 6, "expected the end"),
        ("ctx.a | ctx.b", 6, "expected the end"),
        ("ctx.a || || ctx.b", 9, "expected a field"),
        ("!", 1, "expected a field"),
        ("ctx.a !", 6, "expected the end"),
        ("ctx.a\u00a0== 1", 5, "expected the end"),
        ("ctx.a; import os", 5, "expected the end"),
        ("ctx.__class__()", 13, "expected the end"),
    ],
)
def test_a_broken_guard_is_refused_at_its_place(text: str, position: int, reason: str) -> None:
    with pytest.raises(GuardSyntaxError) as caught:
        compile_guard(text)
    assert (caught.value.position, reason in str(caught.value)) == (position, True), caught.value


def test_length_and_nesting_are_bounded() -> None:
    compile_guard("ctx." + "a" * 4092)
    with pytest.raises(GuardSyntaxError, match="at most 4096"):
        compile_guard("ctx." + "a" * 4093)
    compile_guard("(" * 64 + "ctx.a" + ")" * 64)
    compile_guard("!" * 64 + "ctx.a")
    for text in ("(" * 65 + "ctx.a" + ")" * 65, "!" * 65 + "ctx.a", "!(" * 33 + "ctx.a" + ")" * 33):
        with pytest.raises(GuardSyntaxError, match="deeper than 64"):
            compile_guard(text)
    many = compile_guard(" && ".join(["ctx.a"] * 450))
    assert many({"a": 1})
    assert not many({})


@pytest.mark.parametrize(
    "text",
    ["ctx.a", "\t ctx.a\r\n==\n1 ", "(((ctx.a)))", "!!ctx.a", "ctx.straße > -0.5e-3", "ctx.0.1_"],
)
def test_white_space_unicode_letters_and_digits_are_taken(text: str) -> None:
    compile_guard(text)
