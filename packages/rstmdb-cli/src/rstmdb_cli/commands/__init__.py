"""The commands, grouped by subject; a module is imported when one of its commands is used."""

from __future__ import annotations

from importlib import import_module

import click

from .examples import EXAMPLES

__all__ = ["SUBJECTS", "load"]

SUBJECTS = {
    "ping": "admin",
    "info": "admin",
    "put-machine": "machines",
    "get-machine": "machines",
    "list-machines": "machines",
    "create-instance": "instances",
    "get-instance": "instances",
    "list-instances": "instances",
    "apply-event": "instances",
    "delete-instance": "instances",
    "batch": "batch",
    "watch-instance": "watches",
    "watch-all": "watches",
    "top": "top",
    "snapshot-instance": "log",
    "wal-read": "log",
    "wal-stats": "log",
    "compact": "log",
    "backup": "log",
    "restore": "offline",
    "verify": "offline",
    "repair": "offline",
    "dump": "offline",
    "stats": "offline",
    "hash-token": "admin",
    "flush-all": "admin",
    "repl": "repl",
    "completion": "completion",
}
"""Each command's module, in the order in which help shows them."""


def load(name: str) -> click.Command:
    """The command of that name: the function in its module that is called so."""
    module = import_module(f"{__name__}.{SUBJECTS[name]}")
    command: click.Command = getattr(module, name.replace("-", "_"))
    if name in EXAMPLES:
        lines = (f"  {'' if line[0] == ' ' else 'rstmdb-cli '}{line}" for line in EXAMPLES[name])
        command.epilog = "\n".join(["\b", "Examples:", *lines])
    return command
