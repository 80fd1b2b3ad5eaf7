"""Nothing that is public is missing from the documentation."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from rstmdb_server.main import main as server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = sorted(ROOT.glob("packages/*/src/*"))
PROGRAMS = {"rstmdb_cli", "rstmdb_bench", "rstmdb_server"}
"""What is inside of them is no API, except what OFFERED names."""
OFFERED = {"rstmdb_server.config", "rstmdb_server.testing", "rstmdb_server.pytest_plugin"}

AUTOMODULE = re.compile(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)


def public_modules() -> list[str]:
    """Every module that a user may import."""
    found = []
    for package in PACKAGES:
        name = package.name
        inside = [
            f"{name}.{child.stem}"
            for child in sorted(package.iterdir())
            if not child.name.startswith("_")
            and (child.suffix == ".py" or (child / "__init__.py").exists())
        ]
        found += [name, *(m for m in inside if name not in PROGRAMS or m in OFFERED)]
    return found


def documented_modules() -> dict[str, set[str]]:
    """The modules of the API pages, each with the names that its page leaves out."""
    found = {}
    for page in DOCS.glob("reference/api/*.md"):
        text = page.read_text()
        for module, options in AUTOMODULE.findall(text):
            left_out = re.search(r":exclude-members: (.*)", options)
            names = set(left_out[1].split(", ")) if left_out else set()
            found[module] = names - set(
                re.findall(rf"^\.\. autoclass:: {module}\.(\w+)$", text, re.MULTILINE)
            )
    return found


DOCUMENTED = documented_modules()


def test_every_public_module_has_its_place_in_the_api_pages() -> None:
    assert sorted(DOCUMENTED) == sorted(public_modules())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_name_is_left_out_only_where_another_page_has_it(name: str) -> None:
    module = importlib.import_module(name)
    elsewhere = {
        exported
        for exported in module.__all__
        for home in DOCUMENTED.keys() - {name}
        if exported not in DOCUMENTED[home] and exported in importlib.import_module(home).__all__
        if getattr(module, exported) is getattr(importlib.import_module(home), exported)
    }
    assert DOCUMENTED[name] == elsewhere


def undocumented(module: ModuleType) -> list[str]:
    """Public classes, functions and methods of a module that have no docstring of their own."""
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not value.__dict__.get("__doc__", value.__doc__):
            missing.append(name)
        if inspect.isclass(value):
            missing += [
                f"{name}.{attribute}"
                for attribute, member in vars(value).items()
                if not attribute.startswith("_")
                and (inspect.isfunction(member) or isinstance(member, property | classmethod))
                and not inspect.getdoc(getattr(value, attribute))
            ]
    return missing


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert undocumented(importlib.import_module(name)) == []


def options_of(command: click.Command) -> set[str]:
    """Every spelling of every option of a command."""
    return {o for p in command.params if isinstance(p, click.Option) for o in p.opts}


def test_every_option_of_the_server_is_documented() -> None:
    page = (DOCS / "reference" / "configuration.md").read_text()
    assert [o for o in sorted(options_of(server)) if f"`{o}" not in page] == []


def sessions() -> set[str]:
    """The names of the sessions in noxfile.py, as `nox -s` takes them."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    found = set()
    for node in tree.body:
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        for decorator in decorators:
            if isinstance(node, ast.FunctionDef) and "session" in ast.unparse(decorator):
                named = re.search(r"name=\'([\w-]+)\'", ast.unparse(decorator))
                found.add(named[1] if named else node.name)
    return found


def default_sessions() -> set[str]:
    """Those that `nox` alone runs."""
    text = (ROOT / "noxfile.py").read_text()
    default = re.search(r"^nox\.options\.sessions = (.*)$", text, re.MULTILINE)
    assert default is not None
    return set(ast.literal_eval(default[1]))


def test_every_session_is_explained_to_those_who_work_on_it() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    shown = set(re.findall(r"`nox -s ([\w-]+)", page)) | default_sessions()
    assert sessions() - shown == set()


def test_the_sessions_that_nox_alone_runs_are_named() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.search(r"^\| `nox` \| ([\w, -]+):", page, re.MULTILINE)
    assert shown is not None
    assert set(shown[1].split(", ")) == default_sessions()


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_sessions_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"nox -s ([\w-]+)", text)) - sessions() == set()
    paths = re.findall(r"`((?:tests|packages|docs|deploy|examples|benchmarks)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_tests_that_are_named_for_each_protection_exist() -> None:
    page = (DOCS / "explanation" / "testing.md").read_text()
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("packages/*/tests/test_*.py")]
    defined = {
        name
        for path in files
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    assert named - defined == set()


def test_every_example_is_shown() -> None:
    page = (DOCS / "how-to" / "examples.md").read_text()
    scripts = [path.name for path in (ROOT / "examples").glob("*.py")]
    assert [name for name in scripts if f"/examples/{name}\n" not in page] == []


def test_the_diagrams_are_what_their_script_draws(tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text((DOCS / "images" / "draw.py").read_text())
    subprocess.run([sys.executable, str(script)], check=True)
    drawn = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert drawn
    assert {name: (DOCS / "images" / name).read_text() for name in drawn} == drawn
