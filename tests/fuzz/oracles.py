"""Small second implementations, from the documentation and by other means than the code's.

Frames are cut with `struct`, JSON is read by Python's own module, and a guard becomes a Python
expression. Each says what must come out; how fast or with which words does not matter here.
"""

from __future__ import annotations

import ast
import json
import re
import struct
from collections.abc import Callable
from typing import Any

import zstandard
from crc32c import crc32c

Outcome = tuple[list[bytes], bool | None]
"""The payloads of a byte stream, and whether the stream is broken behind them; None where too
little of a header is there to demand that it is refused already."""


def cut_stream(data: bytes, limit: int, *, zstd: bool) -> Outcome:
    """What a receiver makes of a stream that begins with these bytes."""
    return cut_lines(data, limit) if data[:1] == b"{" else cut_frames(data, limit, zstd=zstd)


def cut_lines(data: bytes, limit: int) -> Outcome:
    found: list[bytes] = []
    *whole, rest = data.split(b"\n")
    for line in whole:
        if len(line) > limit:
            return found, True
        if line.strip():
            found.append(line.rstrip(b"\r"))
    return found, len(rest) > limit


def cut_frames(data: bytes, limit: int, *, zstd: bool) -> Outcome:
    found: list[bytes] = []
    while data:
        if len(data) < 18:
            return found, False if b"RCPX".startswith(data[:4]) else None
        magic, version, flags, extension, size, crc = struct.unpack(">4sHHHII", data[:18])
        if magic != b"RCPX" or version != 1 or flags & ~0xF or size > limit:
            return found, True
        if flags & 2 and not zstd:
            return found, True
        payload = data[18 + extension : 18 + extension + size]
        if len(data) < 18 + extension + size:
            return found, False
        data = data[18 + extension + size :]
        if flags & 1 and crc32c(payload) != crc:
            return found, True
        if flags & 2:
            plain = unfold(payload, limit)
            if plain is None:
                return found, True
            payload = plain
        found.append(payload)
    return found, False


def unfold(payload: bytes, limit: int) -> bytes | None:
    """One whole zstd frame of at most `limit` bytes, or None for anything else."""
    reader = zstandard.ZstdDecompressor().decompressobj()
    try:
        plain = reader.decompress(payload)
    except zstandard.ZstdError:
        return None
    whole = reader.eof and not reader.unused_data
    return plain if whole and len(plain) <= limit else None


def read_json(payload: bytes) -> Any:
    """JSON as RFC 8259 has it. Raises ValueError, RecursionError."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    value = json.loads(payload.decode(), parse_constant=no_constant)
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    return value


_COMPARISON = re.compile(
    r"""[ \t\r\n]*ctx(?P<path>(?:\.\w+)+)[ \t\r\n]*
        (?:(?P<op>==|!=|>=|<=|>|<)[ \t\r\n]*
        (?P<value>"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|true\b|false\b|null\b))?
        [ \t\r\n]*""",
    re.VERBOSE | re.DOTALL,
)
_MARK = re.compile(r"[ \t\r\n]*(\|\||&&|!|\(|\))")
_AS_PYTHON = {"||": " or ", "&&": " and ", "!": " not ", "(": "(", ")": ")"}
Read = Callable[[dict[str, Any]], bool]


def read_guard(text: str) -> Read | None:
    """A guard as a function of the context, or None for text that is no guard.

    Comparisons become names; what is left is and, or, not and parentheses, whose precedence
    Python shares.
    """
    source = ""
    comparisons: list[Read] = []
    at = 0
    while at < len(text):
        mark = _MARK.match(text, at)
        if mark is not None:
            source += _AS_PYTHON[mark[1]]
            at = mark.end()
            continue
        found = _COMPARISON.match(text, at)
        if found is None:
            if not text[at:].strip(" \t\r\n"):
                break
            return None
        compared = comparison(found)
        if compared is None:
            return None
        source += f" c{len(comparisons)} "
        comparisons.append(compared)
        at = found.end()
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, MemoryError, RecursionError):
        return None
    allowed = (ast.Expression, ast.BoolOp, ast.UnaryOp, ast.Name, ast.And, ast.Or, ast.Not,
               ast.Load)  # fmt: skip
    if not all(isinstance(node, allowed) for node in ast.walk(tree)):
        return None
    code = compile(tree, "<guard>", "eval")

    def holds(ctx: dict[str, Any]) -> bool:
        names = {f"c{n}": one(ctx) for n, one in enumerate(comparisons)}
        return bool(eval(code, {}, names))

    return holds


def comparison(found: re.Match[str]) -> Read | None:
    path = found["path"][1:].split(".")
    op = found["op"]
    if op is None:
        return lambda ctx: bool(look_up(ctx, path))
    try:
        value = read_json(found["value"].encode())
    except (ValueError, UnicodeEncodeError):
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    if op in ("==", "!="):
        return lambda ctx: same(look_up(ctx, path), value) == (op == "==")
    if not is_number(value):
        return None
    return lambda ctx: ordered(look_up(ctx, path), op, value)


def look_up(ctx: dict[str, Any], path: list[str]) -> Any:
    value: Any = ctx
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, (list, str)) and name == "length":
            value = len(value)
        else:
            return None
    return value


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(found: Any, value: Any) -> bool:
    if is_number(found) and is_number(value):
        return bool(found == value)
    return type(found) is type(value) and bool(found == value)


def ordered(found: Any, op: str, value: float) -> bool:
    if not is_number(found):
        return False
    outcomes = {">": found > value, ">=": found >= value, "<": found < value, "<=": found <= value}
    return bool(outcomes[op])
