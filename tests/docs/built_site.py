"""What a build of the site has to hold; `nox -s docs` runs it behind the build."""

from __future__ import annotations

import html
import importlib
import re
from pathlib import Path

import click
import pytest

from rstmdb_bench.main import main as bench
from rstmdb_cli.main import main as cli
from rstmdb_protocol import OPERATIONS, ErrorCode

SITE = Path(__file__).parents[2] / "build" / "docs"
API = sorted((SITE / "reference" / "api").glob("*.html"))
IDS = {one for page in API for one in re.findall(r'id="(rstmdb_[\w.]+)"', page.read_text())}
MODULES = sorted(
    {one for page in API for one in re.findall(r'id="module-(rstmdb_[\w.]+)"', page.read_text())}
)


def words(page: str) -> str:
    """A page without its tags, on one line."""
    text = re.sub(r"<[^>]+>", " ", (SITE / page).read_text())
    return " ".join(html.unescape(text).split())


def same_elsewhere(name: str, public: str) -> list[str]:
    """The modules of the API pages that export the same object under the same name."""
    value = getattr(importlib.import_module(name), public)
    others = (importlib.import_module(one) for one in MODULES)
    return [name, *(one.__name__ for one in others if getattr(one, public, None) is value)]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_shown(name: str) -> None:
    module = importlib.import_module(name)
    assert [
        public
        for public in module.__all__
        if not any(f"{home}.{public}" in IDS for home in same_elsewhere(name, public))
    ] == []


@pytest.mark.parametrize(("page", "group"), [("cli", cli), ("bench", bench)])
def test_every_command_and_option_is_shown(page: str, group: click.Group) -> None:
    text = words(f"reference/{page}.html")
    outer = click.Context(group)
    commands = {name: group.get_command(outer, name) for name in group.list_commands(outer)}
    assert [name for name in commands if f" {name} " not in text] == []
    for name, command in {"for all": group, **commands}.items():
        assert command is not None
        options = (p for p in command.params if isinstance(p, click.Option))
        for option in options:
            assert all(f" {one} " in text for one in option.opts), f"{name}: {option.opts}"


def test_every_operation_and_code_is_shown() -> None:
    operations, errors = words("reference/operations.html"), words("reference/errors.html")
    assert [op for op in OPERATIONS if f" {op} " not in operations] == []
    assert [code for code in ErrorCode if f" {code} " not in errors] == []
