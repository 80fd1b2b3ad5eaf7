"""The commands, grouped by subject; a module is imported when one of its commands is used."""

from __future__ import annotations

from importlib import import_module

import click

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
}
"""Each command's module, in the order in which help shows them."""


def load(name: str) -> click.Command:
    """The command of that name: the function in its module that is called so."""
    module = import_module(f"{__name__}.{SUBJECTS[name]}")
    command: click.Command = getattr(module, name.replace("-", "_"))
    return command
