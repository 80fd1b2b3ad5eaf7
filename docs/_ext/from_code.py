"""Tables that are made from the code when the documentation is built.

`operation-table` and `error-table` are directives without arguments; `commands-of MODULE:NAME
COMMAND` describes the commands of a program, `public-data MODULE` the constants of a module.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from typing import Any

import click
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from rstmdb_cli.commands import SUBJECTS
from rstmdb_cli.exits import reported
from rstmdb_client import ERROR_CLASSES, SyncClient
from rstmdb_protocol import OPERATIONS, RETRYABLE_CODES, ErrorCode
from rstmdb_server.errors import CODES
from rstmdb_storage import Database

PACKAGES = ("rstmdb_client", "rstmdb_core", "rstmdb_protocol", "rstmdb_storage", "rstmdb_wal")

Cell = Sequence[str] | nodes.paragraph
"""Plain text; or names, each shown as code, with commas between them; or what is to be shown."""


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> nodes.table:
    """A table."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", row(head))
    group += nodes.tbody("", *(row(cells) for cells in rows))
    return nodes.table("", group, classes=["docutils"])


def row(cells: Sequence[Cell]) -> nodes.row:
    """One row of a table."""
    return nodes.row("", *(nodes.entry("", paragraph(cell)) for cell in cells))


def paragraph(cell: Cell) -> nodes.paragraph:
    """The contents of a cell."""
    if isinstance(cell, nodes.paragraph):
        return cell
    if isinstance(cell, str):
        return nodes.paragraph("", cell)
    parts: list[nodes.Node] = []
    for name in cell:
        parts += [nodes.Text(", ")] if parts else []
        parts.append(nodes.literal("", name))
    return nodes.paragraph("", "", *parts)


def method(owner: type, op: str) -> Cell:
    """The method of a client or database for an operation, if it has one."""
    name = op.lower()
    if not callable(getattr(owner, name, None)):
        return []
    return linked("meth", [f"{owner.__module__.partition('.')[0]}.{owner.__name__}.{name}"])


def linked(kind: str, names: Iterable[str]) -> nodes.paragraph:
    """Names of methods or exceptions, each linked to its place in the API pages."""
    made = nodes.paragraph()
    for full in names:
        made += [nodes.Text(", ")] if made.children else []
        made += addnodes.pending_xref(
            "",
            nodes.literal("", full.rpartition(".")[2]),
            refdomain="py",
            reftype=kind,
            reftarget=full,
        )
    return made


def command(op: str) -> Cell:
    """The command of rstmdb-cli for an operation, if it has one."""
    name = op.lower().replace("_", "-")
    return [name] if name in SUBJECTS else []


def exit_code(code: ErrorCode) -> str:
    """What rstmdb-cli exits with when a server answers with this code."""
    try:
        with redirect_stderr(StringIO()), reported(verbose=False):
            raise ERROR_CLASSES[code](code, "", retryable=False)
    except SystemExit as end:
        return str(end.code)


def yes(value: bool) -> str:
    """How a table says yes; no is an empty cell."""
    return "yes" if value else ""


class OperationTable(SphinxDirective):
    """Every operation, and how each program calls it."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        head = ("operation", "client", "embedded", "command", "writes", "key", "in BATCH")
        rows = (
            (
                [op.name],
                method(SyncClient, op.name),
                method(Database, op.name),
                command(op.name),
                yes(op.mutates),
                yes(op.keyed),
                yes(op.in_batch),
            )
            for op in OPERATIONS.values()
        )
        return [table(head, rows)]


class ErrorTable(SphinxDirective):
    """Every error code, and what it is in each program."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        raised: dict[ErrorCode, list[str]] = {}
        for kind, code in CODES.items():
            package = kind.__module__.partition(".")[0]
            raised.setdefault(code, []).append(f"{package}.{kind.__name__}")
        head = ("code", "retryable", "client raises", "embedded raises", "rstmdb-cli exits with")
        rows = (
            (
                [code.value],
                yes(code in RETRYABLE_CODES),
                linked("exc", [f"rstmdb_client.{ERROR_CLASSES[code].__name__}"]),
                linked("exc", raised.get(code, [])),
                exit_code(code),
            )
            for code in ErrorCode
        )
        return [table(head, rows)]


def sentences(text: str | None) -> nodes.paragraph:
    """A help text as one paragraph."""
    return nodes.paragraph("", " ".join((text or "").split()))


def option_row(option: click.Option, context: click.Context) -> tuple[Cell, ...]:
    """What `--help` says about an option."""
    extra = option.get_help_extra(context)
    kind = option.type
    if option.is_flag:
        values: Cell = ""
    elif isinstance(kind, click.Choice):
        values = [str(choice) for choice in kind.choices]
    elif isinstance(kind, click.IntRange | click.FloatRange):
        values = f"from {kind.min}" if kind.max is None else f"{kind.min} to {kind.max}"
    else:
        values = (option.metavar or kind.name).upper()
    default = [extra["default"]] if "default" in extra else ""
    return [*option.opts, *option.secondary_opts], values, default, option.help or ""


class CommandsOf(SphinxDirective):
    """The commands of a program, each with its options."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """A section for each command."""
        module, _, name = self.arguments[0].partition(":")
        group: click.Group = getattr(import_module(module), name)
        outer = click.Context(group)
        sections = [self.section("before any command", group, outer)]
        for title in group.list_commands(outer):
            command = group.get_command(outer, title)
            if command is not None:
                context = click.Context(command, outer, info_name=title, show_default=True)
                sections.append(self.section(title, command, context))
        return [*sections, sentences(group.epilog)]

    def section(self, title: str, command: click.Command, context: click.Context) -> nodes.section:
        """What a command does, how it is called, and its options."""
        section = nodes.section(ids=[nodes.make_id(title)], names=[title])
        section += nodes.title("", title)
        section += sentences(command.help)
        name = "" if context.parent is None else f"{title} "
        usage = f"{self.arguments[1]} {name}{' '.join(command.collect_usage_pieces(context))}"
        section += nodes.literal_block("", usage, language="text")
        options = [p for p in command.params if isinstance(p, click.Option)]
        if options:
            head = ("option", "values", "default", "meaning")
            section += table(head, (option_row(option, context) for option in options))
        return section


def is_data(value: object) -> bool:
    """Whether a public name is a constant or an alias of a type, which autodoc does not find."""
    return not (isinstance(value, type) or inspect.isroutine(value))


def said_of(package: str, name: str, value: object) -> str:
    """The docstring behind a constant, in whichever module of its package it is defined."""
    for module_name, module in sorted(sys.modules.items()):
        inside = module_name.partition(".")[0] == package and module is not None
        if inside and vars(module).get(name) is value:
            said = ModuleAnalyzer.for_module(module_name)
            said.analyze()
            if ("", name) in said.attr_docs:
                return " ".join(said.attr_docs["", name]).strip()
    return ""


def value_of(value: object) -> str:
    """A value as a table shows it; nothing where it is long, or differs from build to build."""
    shown = repr(value).replace("collections.abc.", "").replace("typing.", "")
    return shown if len(shown) <= 60 and " at 0x" not in shown else ""


class PublicData(SphinxDirective):
    """The constants and aliases of a module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        (name,) = self.arguments
        module = import_module(name)
        rows = []
        for public in module.__all__:
            value = getattr(module, public)
            if is_data(value):
                shown = nodes.literal("", public, ids=[f"{name}.{public}"])
                said = said_of(name.partition(".")[0], public, value)
                rows.append((nodes.paragraph("", "", shown), value_of(value), said))
        if not rows:
            raise self.error(f"{name} has no constants")
        return [table(("name", "value", "what it is"), rows)]


def for_this_site(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Docstrings are read in editors, so their tables are Markdown's; here they become RST's.

    What Python itself writes about the fields of a named tuple goes.
    """
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    done: list[str] = []
    inside = False
    for line in lines:
        if not line.startswith("|"):
            inside = False
            done.append(line)
        elif not inside:
            inside = True
            done += [".. list-table::", "   :header-rows: 1", "", *list_row(line)]
        elif set(line) - set("|-: "):
            done += list_row(line)
    lines[:] = done


def list_row(line: str) -> list[str]:
    """A row of a Markdown table as one of a list-table."""
    first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
    return [f"   * - {first}", *(f"     - {cell}" for cell in rest)]


def load_late_names() -> None:
    """Ask for every public name: autodoc does not see those that a package loads when asked."""
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            getattr(module, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directives known to Sphinx."""
    load_late_names()
    app.add_directive("operation-table", OperationTable)
    app.add_directive("error-table", ErrorTable)
    app.add_directive("commands-of", CommandsOf)
    app.add_directive("public-data", PublicData)
    app.connect("autodoc-process-docstring", for_this_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
