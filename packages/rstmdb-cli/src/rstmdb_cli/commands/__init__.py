"""The commands, grouped by subject; a module is imported when one of its commands is used."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import click

from rstmdb_cli.output import FORMATS, escaped

from .examples import EXAMPLES

__all__ = ["SUBJECTS", "load", "unknown"]

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


def _set_output(
    context: click.Context, _parameter: click.Parameter, value: str | bool | None
) -> None:
    """Let this command alone show its results in another way."""
    if not value or context.resilient_parsing:
        return
    from rstmdb_cli.session import Session

    session = context.find_object(Session)
    if session is not None:
        output = "json" if value is True else str(value)
        context.obj = session._replace(output=output)


# As many tools have them: behind the command too. Help tells of them once, before it.
_OUTPUT = click.Option(
    ["-o", "--output"], type=click.Choice(FORMATS), hidden=True, expose_value=False,
    callback=_set_output, help="How results are shown.",
)  # fmt: skip
_JSON = click.Option(
    ["--json", "as_json"], is_flag=True, hidden=True, expose_value=False,
    callback=_set_output, help="Short for --output json.",
)  # fmt: skip


def unknown(name: str, known: Iterable[str], otherwise: str = "--help shows all") -> str:
    """What to say of a command that there is not."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 3, 0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else otherwise
    return f"there is no command {escaped(name)!r}; {hint}"


def load(name: str) -> click.Command:
    """The command of that name: the function in its module that is called so."""
    module = import_module(f"{__name__}.{SUBJECTS[name]}")
    command: click.Command = getattr(module, name.replace("-", "_"))
    if name in EXAMPLES:
        lines = (f"  {'' if line[0] == ' ' else 'rstmdb-cli '}{line}" for line in EXAMPLES[name])
        command.epilog = "\n".join(["\b", "Examples:", *lines])
    if _JSON not in command.params:
        command.params += [_OUTPUT, _JSON]
    return command
