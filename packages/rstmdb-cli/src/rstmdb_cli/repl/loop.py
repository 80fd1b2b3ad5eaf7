"""Reads a line, runs it, and goes on whatever happened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rstmdb_cli.commands import load, unknown
from rstmdb_cli.exits import INTERRUPTED, USAGE, reported
from rstmdb_cli.lookup import Lookup
from rstmdb_cli.output import FORMATS, escaped

from .grammar import COMMANDS, OWN, SHORT, expanded
from .guide import explain, overview
from .words import split

if TYPE_CHECKING:
    from rstmdb_cli.session import Session

__all__ = ["HISTORY", "Repl", "run"]

HISTORY = Path("~/.rstmdb_history")

_RETRY_SECS = 2.0
"""How long a command waits for a server that is just being started again."""


class Repl:
    """Runs lines one after the other, on one connection."""

    def __init__(self, session: Session, parent: click.Context) -> None:
        from rstmdb_client import SyncClient

        self._client = SyncClient(session.target().with_options(retry_timeout=_RETRY_SECS))
        self._lookup = Lookup.of(session)
        self.session = session._replace(kept=self._client, lookup=self._lookup)
        self._verbose = bool(parent.find_root().params["verbose"])
        self.left = False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._lookup.close()

    def greet(self) -> None:
        """Say where this is, or why it is not."""
        try:
            self._client.connect()
        except Exception as error:  # noqa: BLE001 (reported, and tried again by the next command)
            click.echo(f"not connected: {escaped(str(error))}", err=True)
            click.echo("start the server, and the next command connects by itself", err=True)
            return
        hello = self._client.hello
        version = hello.server_version if hello else "?"
        click.echo(f"rstmdb {escaped(version)} at {self.session.address()}; help leads you on")

    def run(self, line: str) -> int:
        """Run a line; the exit code that it would have as a command."""
        words = [word.text for word in split(line)]
        if words and words[0] == "rstmdb-cli":
            del words[0]
        if not words or words[0].startswith("#"):
            return 0
        try:
            with reported(verbose=self._verbose, name=""):
                return self._run(words)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except click.Abort:
            click.echo("interrupted", err=True)
            return INTERRUPTED
        finally:
            self._lookup.forget()

    def _run(self, words: list[str]) -> int:
        output, words = _output_option(words)
        name, *arguments = expanded(words)
        if name in OWN:
            self._run_own(name, arguments)
            return 0
        if name not in COMMANDS:
            known = [*SHORT, *COMMANDS, *OWN]
            raise click.UsageError(unknown(name, known, "help shows all"))
        session = self.session._replace(output=output or self.session.output)
        helps = ["-h", "--help"]
        root = click.Context(click.Group(), info_name="", obj=session, help_option_names=helps)
        command = load(name)
        with command.make_context(name, arguments, parent=root) as context:
            command.invoke(context)
        return 0

    def _run_own(self, name: str, arguments: list[str]) -> None:
        if len(arguments) > (name in ("help", "output")):
            raise click.UsageError(f"{name} does not take {' '.join(arguments)!r}")
        if name == "help":
            click.echo(explain(arguments[0]) if arguments else overview())
        elif name == "output":
            if arguments and arguments[0] not in FORMATS:
                raise click.UsageError(f"{arguments[0]!r} is not one of {', '.join(FORMATS)}")
            self.session = self.session._replace(output=(arguments or [self.session.output])[0])
            click.echo(f"results are shown as {self.session.output}", err=True)
        elif name == "reconnect":
            self._client.close()
            self._client.connect()
            self.greet()
        else:
            self.left = True


def _output_option(words: list[str]) -> tuple[str | None, list[str]]:
    """Take --json and -o FORMAT from the beginning, as the command line has them."""
    if words[0] == "--json" and len(words) > 1:
        return "json", words[1:]
    if words[0] in ("-o", "--output") and len(words) > 2 and words[1] in FORMATS:
        return words[1], words[2:]
    if words[0].startswith("-"):
        raise click.UsageError(
            f"{words[0]} does not go here: a line begins with a command, --json or -o FORMAT"
        )
    return None, words


def run(session: Session, context: click.Context) -> int:
    """Run lines until the end: from a terminal with all comforts, else as they come.

    Returns an exit code: 0, or that of the last line that failed where no one looked on.
    """
    repl = Repl(session, context)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            from .terminal import converse

            repl.greet()
            converse(repl, HISTORY.expanduser())
            return 0
        return _run_script(repl)
    finally:
        repl.close()


def _run_script(repl: Repl) -> int:
    """Run the lines of standard input; JSON and quotes may go over several."""
    code = 0
    pending = ""
    try:
        for text in sys.stdin:
            pending += text
            words = split(pending)
            if words and words[-1].open:
                continue
            code = repl.run(pending) or code
            pending = ""
            if repl.left:
                return code
        return repl.run(pending) or code if pending else code
    except UnicodeDecodeError as error:
        click.echo(f"rstmdb-cli: standard input is not UTF-8: {error}", err=True)
        return USAGE
