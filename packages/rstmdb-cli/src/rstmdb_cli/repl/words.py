"""A line in words, as a shell would have them, but JSON needs no quotes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Word", "quoted", "split"]

_CLOSING = {"{": "}", "[": "]"}


class Word(NamedTuple):
    """What a word means, and where it stands: `line[start:end]`.

    `json` says that it is JSON without quotes, and `open` that a quote or bracket is not closed.
    """

    text: str
    start: int
    end: int
    json: bool = False
    open: bool = False


def split(line: str) -> list[Word]:
    r"""The words of a line.

    Blanks separate words. '...' is taken as it is, in "..." and outside a backslash takes the
    next character as it is, and a word that begins with { or [ goes on to where that is closed.
    """
    words = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        word = _json(line, at) if line[at] in _CLOSING else _plain(line, at)
        words.append(word)
        at = word.end
    return words


def _json(line: str, start: int) -> Word:
    """JSON up to the bracket that closes it, or to the end of the line."""
    waiting: list[str] = []
    inside = False
    at = start
    while at < len(line):
        char = line[at]
        if inside:
            if char == "\\":
                at += 1
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in _CLOSING:
            waiting.append(_CLOSING[char])
        elif char in "}]":
            if waiting and waiting[-1] == char:
                waiting.pop()
            if not waiting:
                at += 1
                break
        at += 1
    end = min(at, len(line))
    while end < len(line) and not line[end].isspace():
        end += 1  # what sticks to it makes it wrong, which its reader tells
    return Word(line[start:end], start, end, json=True, open=bool(waiting))


def _plain(line: str, start: int) -> Word:
    text: list[str] = []
    quote = ""
    at = start
    while at < len(line):
        char = line[at]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and line[at + 1 : at + 2] in ('"', "\\"):
                at += 1
                text.append(line[at])
            else:
                text.append(char)
        elif char.isspace():
            break
        elif char in "'\"":
            quote = char
        elif char == "\\" and at + 1 < len(line):
            at += 1
            text.append(line[at])
        else:
            text.append(char)
        at += 1
    return Word("".join(text), start, at, open=bool(quote))


def quoted(text: str) -> str:
    """A word that means the text."""
    plain = text and text[0] not in "{[" and not any(c.isspace() or c in "'\"\\" for c in text)
    if plain:
        return text
    if "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
