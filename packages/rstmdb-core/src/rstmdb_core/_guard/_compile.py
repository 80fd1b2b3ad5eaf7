"""How a guard's tree becomes a closure over the context.

All that can be known beforehand (path, literal, how to compare) is bound when the closure is made;
running one costs a call and a dictionary lookup a comparison.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from ._parse import And, Compare, Field, Literal, Node, Not, Or, parse_guard

Guard: TypeAlias = Callable[[dict[str, object]], bool]
"""True when the guard holds for the context; reads it, never changes it, never raises."""

_Read: TypeAlias = Callable[[dict[str, object]], object]

_ORDERINGS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def compile_guard(text: str) -> Guard:
    """Return the closure of a guard's text; raise GuardSyntaxError when it does not parse."""
    return _compile(parse_guard(text))


def _compile(node: Node) -> Guard:
    match node:
        case Field():
            return _truth(node.path)
        case Compare():
            return _comparison(node)
        case Not():
            operand = _compile(node.operand)
            return lambda ctx: not operand(ctx)
        case And():
            return _all_of([_compile(operand) for operand in node.operands])
        case Or():
            return _any_of([_compile(operand) for operand in node.operands])


def _all_of(guards: list[Guard]) -> Guard:
    match guards:
        case [first, second]:
            return lambda ctx: first(ctx) and second(ctx)
        case [first, second, third]:
            return lambda ctx: first(ctx) and second(ctx) and third(ctx)

    def every(ctx: dict[str, object]) -> bool:
        for guard in guards:  # noqa: SIM110 (all() builds a generator for each call)
            if not guard(ctx):
                return False
        return True

    return every


def _any_of(guards: list[Guard]) -> Guard:
    match guards:
        case [first, second]:
            return lambda ctx: first(ctx) or second(ctx)
        case [first, second, third]:
            return lambda ctx: first(ctx) or second(ctx) or third(ctx)

    def some(ctx: dict[str, object]) -> bool:
        for guard in guards:  # noqa: SIM110 (any() builds a generator for each call)
            if guard(ctx):
                return True
        return False

    return some


def _truth(path: tuple[str, ...]) -> Guard:
    if len(path) == 1:
        name = path[0]
        return lambda ctx: bool(ctx.get(name))
    read = _reader(path)
    return lambda ctx: bool(read(ctx))


def _comparison(node: Compare) -> Guard:
    if node.op in _ORDERINGS:
        return _ordering(node)
    equal = _equality(node.path, node.value)
    if node.op == "==":
        return equal
    return lambda ctx: not equal(ctx)


def _equality(path: tuple[str, ...], value: Literal) -> Guard:
    if len(path) == 1:
        return _equality_of_member(path[0], value)
    read = _reader(path)
    if value is None or isinstance(value, bool):
        return lambda ctx: read(ctx) is value
    if isinstance(value, str):
        return lambda ctx: read(ctx) == value

    def equal(ctx: dict[str, object]) -> bool:
        found = read(ctx)
        return found == value and found is not True and found is not False

    return equal


def _equality_of_member(name: str, value: Literal) -> Guard:
    if value is None or isinstance(value, bool):
        return lambda ctx: ctx.get(name) is value
    if isinstance(value, str):
        return lambda ctx: ctx.get(name) == value

    def equal(ctx: dict[str, object]) -> bool:
        # Python holds True == 1; JSON does not.
        found = ctx.get(name)
        return found == value and found is not True and found is not False

    return equal


def _ordering(node: Compare) -> Guard:
    value = node.value
    holds = _ORDERINGS[node.op]
    if len(node.path) == 1:
        name = node.path[0]

        def member(ctx: dict[str, object]) -> bool:
            found = ctx.get(name)
            kind = type(found)
            return (kind is int or kind is float) and holds(found, value)

        return member
    read = _reader(node.path)

    def nested(ctx: dict[str, object]) -> bool:
        found = read(ctx)
        kind = type(found)
        return (kind is int or kind is float) and holds(found, value)

    return nested


def _reader(path: tuple[str, ...]) -> _Read:
    def read(ctx: dict[str, object]) -> object:
        value: object = ctx
        for name in path:
            if type(value) is dict:
                value = value.get(name)
            elif name == "length" and (type(value) is list or type(value) is str):
                value = len(value)
            else:
                return None
        return value

    return read
