"""How a guard's text becomes a tree.

    expr    = and { "||" and }
    and     = unary { "&&" unary }
    unary   = "!" unary | primary
    primary = "(" expr ")" | field [ op value ]
    field   = "ctx" "." name { "." name }
    op      = "==" | "!=" | ">" | ">=" | "<" | "<="
    value   = JSON number | JSON string | true | false | null

A field is written without spaces; between all other tokens JSON's white space is allowed.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn, TypeAlias

import msgspec

from rstmdb_core._errors import GuardSyntaxError
from rstmdb_core._values import shown

MAX_LENGTH: Final = 4096
"""Characters of a guard."""
MAX_NESTING: Final = 64
"""Levels of parentheses and negations."""

Literal: TypeAlias = int | float | str | bool | None


class Field(msgspec.Struct, frozen=True, gc=False):
    """A path into the context, true when its value is truthy."""

    path: tuple[str, ...]


class Compare(msgspec.Struct, frozen=True, gc=False):
    """A field compared with a literal; `op` is one of == != > >= < <=."""

    path: tuple[str, ...]
    op: str
    value: Literal


class Not(msgspec.Struct, frozen=True, gc=False):
    """A negation."""

    operand: Node


class And(msgspec.Struct, frozen=True, gc=False):
    """At least two operands, tried from the left, all of which must hold."""

    operands: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True, gc=False):
    """At least two operands, tried from the left, one of which must hold."""

    operands: tuple[Node, ...]


Node: TypeAlias = Field | Compare | Not | And | Or

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_WORD: Final = re.compile(r"[^\W\d_][\w]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"', re.DOTALL)
_OPERATOR: Final = re.compile(r"==|!=|>=|<=|>|<")
_CONSTANTS: Final[dict[str, Literal]] = {"true": True, "false": False, "null": None}
_decode_string = msgspec.json.Decoder(str).decode


def parse_guard(text: str) -> Node:
    """Return the tree of a guard.

    Raises GuardSyntaxError, with the position where reading stopped, when the text is longer than
    4096 characters, nested deeper than 64 levels or not a guard from its first character to its
    last.
    """
    if len(text) > MAX_LENGTH:
        raise GuardSyntaxError(
            f"guard of {len(text)} characters; at most {MAX_LENGTH} are allowed", MAX_LENGTH
        )
    parser = _Parser(text)
    node = parser.either(0)
    if parser.position < len(text):
        parser.fail(f"expected the end of the guard, found {parser.found()}")
    return node


class _Parser:
    """Recursive descent; `position` always stands on the next token, white space skipped."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._advance(0)

    def either(self, depth: int) -> Node:
        operands = [self.both(depth)]
        while self._take("||"):
            operands.append(self.both(depth))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def both(self, depth: int) -> Node:
        operands = [self.unary(depth)]
        while self._take("&&"):
            operands.append(self.unary(depth))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def unary(self, depth: int) -> Node:
        if depth > MAX_NESTING:
            self.fail(f"nested deeper than {MAX_NESTING} levels")
        if self._take("!"):
            return Not(self.unary(depth + 1))
        if self._take("("):
            node = self.either(depth + 1)
            if not self._take(")"):
                self.fail(f"expected ')', found {self.found()}")
            return node
        return self._comparison()

    def found(self) -> str:
        if self.position >= len(self.text):
            return "the end of the guard"
        word = _WORD.match(self.text, self.position)
        return shown(word[0] if word else self.text[self.position])

    def fail(self, reason: str) -> NoReturn:
        raise GuardSyntaxError(reason, self.position)

    def _comparison(self) -> Node:
        path = self._field()
        operator = _OPERATOR.match(self.text, self.position)
        if operator is None:
            if self.text.startswith("=", self.position):
                self.fail("a single '=' is no operator; write '=='")
            return Field(path)
        self._advance(operator.end())
        op = operator[0]
        start = self.position
        value = self._value()
        if op not in ("==", "!=") and type(value) not in (int, float):
            self.position = start
            self.fail(f"expected a number after '{op}', found {self.found()}")
        return Compare(path, op, value)

    def _field(self) -> tuple[str, ...]:
        text = self.text
        word = _WORD.match(text, self.position)
        if word is None or word[0] != "ctx":
            self.fail(f"expected a field such as ctx.amount, found {self.found()}")
        self.position = word.end()
        names: list[str] = []
        while text.startswith(".", self.position):
            self.position += 1
            names.append(self._name())
        if not names:
            self.fail(f"expected '.' and a name after ctx, found {self.found()}")
        self._advance(self.position)
        return tuple(names)

    def _name(self) -> str:
        start = end = self.position
        text = self.text
        while end < len(text) and _of_name(text[end]):
            end += 1
        if end == start:
            self.fail(f"expected a name after '.', found {self.found()}")
        self.position = end
        return text[start:end]

    def _value(self) -> Literal:
        start = self.position
        text = self.text
        if text.startswith('"', start):
            return self._string()
        number = _NUMBER.match(text, start)
        if number is not None:
            return self._number(number)
        word = _WORD.match(text, start)
        if word is not None and word[0] in _CONSTANTS:
            self._advance(word.end())
            return _CONSTANTS[word[0]]
        return self.fail(f"expected a number, a string, true, false or null, found {self.found()}")

    def _number(self, number: re.Match[str]) -> int | float:
        after = self.text[number.end() : number.end() + 1]
        if after == "." or after == "_" or after.isalnum():
            self.fail(f"{shown(number[0] + after)}... is not a JSON number")
        value: int | float
        if number[1] is None and number[2] is None:
            value = int(number[0])
        else:
            value = float(number[0])
            if value in (float("inf"), float("-inf")):
                self.fail(f"the number {shown(number[0])} is out of range")
        self._advance(number.end())
        return value

    def _string(self) -> str:
        literal = _STRING.match(self.text, self.position)
        if literal is None:
            self.fail("the string has no end, or holds a control character")
        try:
            value = _decode_string(literal[0])
        except (msgspec.DecodeError, UnicodeEncodeError):
            self.fail("not a valid JSON string")
        self._advance(literal.end())
        return value

    def _take(self, token: str) -> bool:
        if not self.text.startswith(token, self.position):
            return False
        self._advance(self.position + len(token))
        return True

    def _advance(self, position: int) -> None:
        space = _SPACE.match(self.text, position)
        self.position = position if space is None else space.end()


def _of_name(character: str) -> bool:
    return character == "_" or character.isalpha() or character.isdecimal()
