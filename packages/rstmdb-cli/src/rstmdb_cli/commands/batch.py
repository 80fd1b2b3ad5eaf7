"""batch: a file of operations, all or nothing or one by one."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from rstmdb_cli.exits import SERVER
from rstmdb_cli.output import encoded, escaped, show_rows
from rstmdb_cli.progress import progress
from rstmdb_cli.session import Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstmdb_cli.importing import Line, Outcome

__all__ = ["batch"]

_COLUMNS = ("line", "status", "op", "instance", "result")
_SHOWN = 100
"""Rows of a table; of more lines, those that failed are shown."""

_IN_MEMORY_BYTES = 16 << 20


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--atomic", is_flag=True, help="All or nothing, in one batch.")
@click.option(
    "--import-id",
    metavar="NAME",
    help="Lines that were applied under this name are not applied again; FILE's path unless given.",
)
@click.option(
    "--from-line", type=click.IntRange(min=1), default=1, help="Leave out the lines before it."
)
@pass_session
def batch(
    session: Session, file: BinaryIO, atomic: bool, import_id: str | None, from_line: int
) -> None:
    """Run the operations in a file.

    FILE, or - for standard input, holds a JSON object a line:
    {"op": "APPLY_EVENT", "params": {...}}. Nothing is sent unless all lines make sense.

    Without --atomic each line stands alone, they go in batches of what the server allows, and
    the exit code is 1 when one failed. After a break, run the same command again: what was
    applied is not applied twice, as long as the server remembers its keys
    (idempotency.retention_secs, a day unless set).
    """
    from rstmdb_cli.importing import lines

    name = import_id or _path(file)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as kept:
        source = file if file.seekable() else kept
        if source is kept:
            shutil.copyfileobj(file, kept)
            kept.seek(0)
        try:
            total = sum(line.number >= from_line for line in lines(source, name))
        except ValueError as error:
            raise click.BadParameter(escaped(str(error)), param_hint="FILE") from error
        source.seek(0)
        wanted = (line for line in lines(source, name) if line.number >= from_line)
        if atomic:
            _run_atomic(session, list(wanted))
        else:
            _Run(session, wanted, total).run()


def _path(file: BinaryIO) -> str:
    """What names an import: its file, or nothing else in the world."""
    path = getattr(file, "name", None)
    if not isinstance(path, str) or path == "<stdin>" or not file.seekable():
        return str(uuid.uuid4())
    return os.path.realpath(path)


def _run_atomic(session: Session, operations: list[Line]) -> None:
    """Send one batch; the refusal of a line is that of all."""
    from msgspec import to_builtins

    from rstmdb_client import ServerError

    with session.connected() as client:
        most = client.info().max_batch_ops
        if len(operations) > most:
            raise click.BadParameter(
                f"{len(operations)} operations; the server takes {most} in an atomic batch",
                param_hint="FILE",
            )
        ops = [{"op": line.op, "params": line.params} for line in operations]
        try:
            result = to_builtins(client.call_batch(ops, "atomic"))
        except ServerError as error:
            index = error.details.get("index")
            if isinstance(index, int) and index < len(operations):
                click.echo(f"line {operations[index].number} is refused:", err=True)
            raise
    if session.output == "table":
        items = zip(operations, result["results"], strict=True)
        result = {"results": [_row(line, item) for line, item in items]}
    show_rows(result, "results", session.output, _COLUMNS)


class _Run:
    """Lines that stand alone: shown as they are done, counted, and summed up whatever happens."""

    def __init__(self, session: Session, operations: Iterable[Line], total: int) -> None:
        self._session = session
        self._operations = operations
        self._total = total
        self._done = self._before = self._failed = 0
        self._last = 0
        self._items: list[dict[str, Any]] = []

    def run(self) -> None:
        """Raises Exit with 1 if a line failed, and whatever breaks the import off."""
        from rstmdb_cli.importing import outcomes

        live = self._session.output == "ndjson"
        try:
            with (
                self._session.connected() as client,
                progress("importing", unit="lines", printing=live) as advance,
            ):
                info = client.info()
                head = info.wal_offset or 0
                for outcome in outcomes(client, self._operations, info.max_batch_ops, head):
                    self._take(outcome)
                    advance(self._done, self._total)
        except BaseException:
            self._report_break()
            raise
        self._show()
        if self._failed:
            raise click.exceptions.Exit(SERVER)

    def _take(self, outcome: Outcome) -> None:
        self._done += 1
        self._before += outcome.before
        self._failed += outcome.failed
        self._last = outcome.line.number
        output = self._session.output
        if output == "ndjson":
            click.echo(encoded(outcome.item, output))
        elif output != "table":
            self._items.append(outcome.item)
        elif outcome.failed or self._total <= _SHOWN:
            self._items.append(_row(outcome.line, outcome.item))

    def _show(self) -> None:
        output = self._session.output
        if output != "ndjson" and (self._items or output != "table"):
            show_rows({"results": self._items}, "results", output, _COLUMNS)
        if output == "table" or self._failed or self._before:
            click.echo(self._summary(), err=True)

    def _summary(self) -> str:
        fresh = self._done - self._failed - self._before
        text = f"{self._total} lines: {fresh} done, {self._failed} failed"
        if not self._before:
            return text
        return (
            f"{text}, {self._before} had been done by an earlier run"
            " (another --import-id would do them anew)"
        )

    def _report_break(self) -> None:
        """Say how far it came, and how it goes on."""
        if self._session.output == "table" and self._items:
            show_rows({"results": self._items}, "results", "table", _COLUMNS)
        where = f"behind line {self._last}" if self._last else "before the first line"
        click.echo(
            f"broken off {where}, {self._failed} of {self._done} failed; the same command goes on,"
            " and does nothing twice",
            err=True,
        )


def _row(line: Line, item: dict[str, Any]) -> dict[str, Any]:
    """A line for a table: of a result what is short, of an error all."""
    result, error = item["result"], item["error"]
    if error is not None:
        text = f"{error['code']}: {error['message']}"
    elif isinstance(result, dict):
        text = _brief(result)
    else:
        text = encoded(result, "ndjson")
    named = line.params.get("instance_id") or line.params.get("machine")
    made = result.get("instance_id") if isinstance(result, dict) else None
    return {
        "line": line.number,
        "status": item["status"],
        "op": line.op,
        "instance": made or named,
        "result": text,
    }


def _brief(result: dict[str, Any]) -> str:
    """The part of a result that tells the most."""
    if "to_state" in result:
        return f"{result['from_state']} → {result['to_state']}"
    for name in ("state", "deleted", "created"):
        if name in result:
            return f"{name}: {encoded(result[name], 'ndjson')}"
    return encoded(result, "ndjson")
