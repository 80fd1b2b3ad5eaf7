"""What can be typed: the command line's commands, short ones, and those of the REPL alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import click

from rstmdb_cli.commands import SUBJECTS, load

__all__ = ["COMMANDS", "OWN", "SHORT", "Short", "expanded", "outline"]


class Short(NamedTuple):
    """A short command: `command`, whose options `options` take the words in their order.

    An option that is empty is the command's own next argument. `usage` shows the words.
    """

    command: str
    options: tuple[str, ...]
    usage: str


SHORT = {
    "put": Short("put-machine", ("-n", "-v", ""), "NAME VERSION DEFINITION"),
    "machines": Short("list-machines", (), ""),
    "machine": Short("get-machine", ("", ""), "NAME [VERSION]"),
    "create": Short("create-instance", ("-m", "-V", "-i", "-c"), "MACHINE VERSION [ID] [CTX]"),
    "get": Short("get-instance", ("",), "ID"),
    "list": Short("list-instances", ("--machine", "--state"), "[MACHINE] [STATE]"),
    "apply": Short("apply-event", ("-i", "-e", "-p"), "ID EVENT [PAYLOAD]"),
    "delete": Short("delete-instance", ("",), "ID"),
    "watch": Short("watch-all", ("--machines",), "[MACHINES]"),
    "wal": Short("wal-read", ("-f", "-l"), "[FROM] [LIMIT]"),
}

OWN = {
    "help": "Explain the first steps, or a COMMAND.",
    "output": "Show results as table, json, ndjson or yaml.",
    "reconnect": "Open the connection anew.",
    "quit": "Leave; Ctrl-D does too, and so does exit.",
    "exit": "Leave.",
}

COMMANDS = [name for name in SUBJECTS if name not in ("repl", "completion")]
"""The command line's commands that make sense here."""


def outline(name: str) -> tuple[str, str]:
    """How a command is used, and what it does in one line; empty for one that is not known."""
    if name in OWN:
        words = {"help": "help [COMMAND]", "output": "output [FORMAT]"}.get(name, name)
        return words, OWN[name]
    if name in SHORT:
        short = SHORT[name]
        return f"{name} {short.usage}".rstrip(), load(short.command).get_short_help_str(200)
    if name in COMMANDS:
        command = load(name)
        context = click.Context(command)
        return " ".join([name, *_pieces(context)]), command.get_short_help_str(200)
    return "", ""


def _pieces(context: click.Context) -> list[str]:
    """The parts of a usage line: required options by name, the others as [OPTIONS]."""
    required, arguments, others = [], [], []
    for parameter in context.command.params:
        if isinstance(parameter, click.Argument):
            arguments.append(parameter.make_metavar(context))
        elif getattr(parameter, "hidden", False):
            continue
        elif parameter.required:
            required.append(f"{parameter.opts[0]} {parameter.opts[-1].strip('-').upper()}")
        else:
            others = ["[OPTIONS]"]
    return required + arguments + others


def expanded(words: Sequence[str]) -> list[str]:
    """The words of the command line's command that a short command stands for."""
    if not words or words[0] not in SHORT:
        return list(words)
    short = SHORT[words[0]]
    by_name = {
        name: option
        for option in load(short.command).params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    given = {by_name[word] for word in words[1:] if word in by_name}
    places = iter([name for name in short.options if not name or by_name[name] not in given])
    found = [short.command]
    value_follows = False
    for word in words[1:]:
        if value_follows or (word.startswith("-") and len(word) > 1):
            value_follows = not value_follows and word in by_name and not by_name[word].is_flag
            found.append(word)
            continue
        option = next(places, "")
        found += [option, word] if option else [word]
    return found
