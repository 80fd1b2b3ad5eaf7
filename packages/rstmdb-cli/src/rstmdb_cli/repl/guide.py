"""Help inside the REPL: the first steps, all commands by subject, and each in detail."""

from __future__ import annotations

from textwrap import fill

import click

from rstmdb_cli.commands import SUBJECTS, load
from rstmdb_cli.output import escaped

from .grammar import COMMANDS, OWN, SHORT, outline

__all__ = ["explain", "overview"]

_STEPS = {
    "A machine is a set of states, and of events that lead from one to another:": (
        'put light 1 {"states": ["off", "on"], "initial": "off", "transitions": [',
        '  {"from": "off", "event": "SWITCH", "to": "on"},',
        '  {"from": "on", "event": "SWITCH", "to": "off"}]}',
    ),
    "Create an instance of it, with an id and a context of your own:": (
        'create light 1 hall {"watts": 40}',
    ),
    "Apply events; Tab after the id shows which are allowed now:": ("apply hall SWITCH",),
    "Look at it, or draw its machine with its state marked:": (
        "get hall",
        "get hall --svg hall.svg",
    ),
    "Watch what others do, until Ctrl-C:": ("watch",),
}

_GROUPS = {
    "machines, instances": ("machines", "instances", "batch"),
    "as it happens": ("watches", "top"),
    "log": ("log",),
    "server": ("admin",),
    "data directories": ("offline",),
}


def overview() -> str:
    """What `help` shows; the first steps come last, where a small screen shows them."""
    parts = [click.style("Short commands", bold=True), *_lines(list(SHORT))]
    parts += ["", click.style("All commands, as in a shell", bold=True)]
    for title, modules in _GROUPS.items():
        names = ", ".join(name for name in COMMANDS if SUBJECTS[name] in modules)
        indent = " " * 23
        parts.append(fill(names, 100, initial_indent=f"  {title:<21}", subsequent_indent=indent,
                          break_on_hyphens=False))  # fmt: skip
    parts += ["", click.style("This prompt", bold=True), *_lines(list(OWN))]
    parts += ["", click.style("First steps", bold=True)]
    for number, (text, lines) in enumerate(_STEPS.items(), 1):
        parts.append(f"  {number}. {text}")
        parts += [f"     {click.style(line, fg='cyan')}" for line in lines]
    parts += [
        "",
        "JSON needs no quotes here, and goes on over lines until its brackets are closed; @FILE",
        "reads it. Tab completes, Ctrl-R searches the history, Ctrl-C ends a line or a command.",
        f"{click.style('help COMMAND', fg='cyan')} tells more of each.",
    ]
    return "\n".join(parts)


def _lines(names: list[str]) -> list[str]:
    found = [outline(name) for name in names]
    width = min(44, max(len(usage) for usage, _ in found))
    return [f"  {usage.ljust(width)}  {text}" for usage, text in found]


def explain(name: str) -> str:
    """What `help NAME` shows. Raises UsageError where there is no such command."""
    if name in OWN:
        usage, text = outline(name)
        return f"Usage: {usage}\n\n  {text}"
    short = SHORT.get(name)
    full = short.command if short else name
    if full not in COMMANDS:
        raise click.UsageError(f"there is no command {escaped(name)!r}; help shows all")
    command = load(full)
    with click.Context(command, info_name=full, max_content_width=100) as context:
        text = command.get_help(context).replace("  rstmdb-cli ", "  ")
    if short is None:
        return text
    usage, _ = outline(name)
    return f"{usage}\n\nis short for the command {full}.\n\n{text}"
