"""JSON is checked while it is typed: what is wrong is told, what is not finished goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import click

from rstmdb_cli.commands import SUBJECTS, load
from rstmdb_cli.values import json_object, parse_json

from .grammar import expanded
from .words import Word, split

__all__ = ["Problem", "first_problem", "is_open", "json_words"]

_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?)?$")
_ESCAPE = re.compile(r"\\?(u[0-9a-fA-F]{0,4})?")
_BEGINNINGS = ("true", "false", "null", "-", "NaN", "Infinity")


class Problem(Exception):
    """What is wrong in a line, and at which character."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def json_words(words: list[Word]) -> Iterator[Word]:
    """The words that are to be JSON: values of such options and arguments, and whatever looks so.

    `@file` and `-` are left out.
    """
    wanted = _json_values([word.text for word in words])
    for number, word in enumerate(words):
        if word.json or (number in wanted and not word.text.startswith("@") and word.text != "-"):
            yield word


def _json_values(texts: list[str]) -> set[int]:
    """Which words click would hand to a parameter whose type is JSON."""
    marked = [texts[0], *map(str, range(1, len(texts)))] if texts else []
    for number, text in enumerate(texts):
        if text.startswith("-") and len(text) > 1:
            marked[number] = text
    name, *arguments = expanded(marked) or [""]
    if name not in SUBJECTS:
        return set()
    command = load(name)
    context = click.Context(command, resilient_parsing=True)
    values, _, _ = command.make_parser(context).parse_args(arguments)
    return {
        int(values[parameter.name])
        for parameter in command.params
        if getattr(parameter.type, "func", None) is json_object
        and str(values.get(parameter.name)).isdecimal()
    }


def first_problem(line: str) -> Problem | None:
    """What no further typing could mend, or None."""
    try:
        found = list(json_words(split(line)))
    except click.ClickException:
        return None  # which the command tells when it runs
    for word in found:
        problem = _problem(word)
        if problem is not None:
            return problem
    return None


def _problem(word: Word) -> Problem | None:
    try:
        parse_json(word.text)
    except ValueError as error:
        cause = error.__cause__
        if not isinstance(cause, json.JSONDecodeError):
            return Problem(f"JSON: {error}", word.start)
        if _may_go_on(word, cause):
            return None
        quote = 0 if word.json else 1
        return Problem(f"JSON: {cause.msg}", word.start + quote + cause.pos)
    return None


def _may_go_on(word: Word, error: json.JSONDecodeError) -> bool:
    """Whether the text is only not finished: an open bracket, string, escape or literal."""
    if not word.open and word.text.strip():
        return False
    rest = word.text[error.pos :].strip()
    if not rest or error.msg.startswith("Unterminated"):
        return True
    number = _NUMBER.search(word.text)
    if number is not None and number.start() < error.pos:
        return True
    if error.msg.startswith("Invalid") and "escape" in error.msg:
        return _ESCAPE.fullmatch(rest) is not None
    return any(name.startswith(rest) for name in _BEGINNINGS)


def is_open(line: str) -> bool:
    """Whether the line ends inside JSON or a quote, so that Enter goes on in the next one."""
    words = split(line)
    return bool(words) and words[-1].open
