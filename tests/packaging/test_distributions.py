"""The eight distributions: one version, pinned siblings, licences, typed, documented."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("protocol", "wal", "core", "storage", "server", "client", "cli", "bench")
ALLOWED = {
    "protocol": {"crc32c", "msgspec", "zstandard"},
    "wal": {"crc32c", "zstandard"},
    "core": {"msgspec"},
    "storage": {"rstmdb-core", "rstmdb-wal", "crc32c", "msgspec", "zstandard"},
    "server": {
        "rstmdb-storage", "rstmdb-protocol", "anyio", "click", "msgspec", "PyYAML",
        "prometheus-client", "starlette", "uvicorn",
    },
    "client": {"rstmdb-protocol", "anyio"},
    "cli": {"rstmdb-client", "click", "PyYAML", "rich", "prompt_toolkit"},
    "bench": {"rstmdb-protocol", "click", "crc32c"},
}  # fmt: skip


def project(name: str) -> dict[str, Any]:
    text = (ROOT / "packages" / f"rstmdb-{name}" / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def test_all_distributions_share_one_version_and_pin_their_siblings_to_it() -> None:
    version = project("protocol")["version"]
    for name in NAMES:
        table = project(name)
        assert table["name"] == f"rstmdb-{name}"
        assert table["version"] == version
        extras = table.get("optional-dependencies", {}).values()
        for requirement in [*table["dependencies"], *(one for extra in extras for one in extra)]:
            if requirement.startswith("rstmdb"):
                assert requirement.endswith(f"=={version}"), requirement


@pytest.mark.parametrize("name", NAMES)
def test_a_distribution_depends_on_nothing_that_was_not_decided(name: str) -> None:
    found = {re.split(r"[=<>\[]", one)[0].strip() for one in project(name)["dependencies"]}
    assert found <= ALLOWED[name]
    source = "".join(
        path.read_text() for path in (ROOT / "packages" / f"rstmdb-{name}" / "src").rglob("*.py")
    )
    modules = {"PyYAML": "yaml", "prometheus-client": "prometheus_client"}
    for requirement in found:
        module = modules.get(requirement, requirement.replace("-", "_"))
        assert re.search(rf"^\s*(import|from) {module}\b", source, re.MULTILINE), requirement


@pytest.mark.parametrize("name", NAMES)
def test_a_distribution_carries_licence_notice_readme_and_types(name: str) -> None:
    folder = ROOT / "packages" / f"rstmdb-{name}"
    for file in ("LICENSE", "NOTICE"):
        assert (folder / file).read_bytes() == (ROOT / file).read_bytes()
    assert (folder / "README.md").read_text().startswith(f"# rstmdb-{name}\n")
    assert (folder / "src" / f"rstmdb_{name}" / "py.typed").exists()
    assert list((folder / "tests").glob("test_*.py"))


def test_no_distribution_is_or_holds_the_shipped_client_of_the_original() -> None:
    for name in NAMES:
        packages = [p.name for p in (ROOT / "packages" / f"rstmdb-{name}" / "src").iterdir()]
        assert [p for p in packages if not p.startswith(".")] == [f"rstmdb_{name}"]
        assert "rstmdb" not in {
            re.split(r"[=<>\[]", one)[0] for one in project(name)["dependencies"]
        }


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for marker in ("demo", "tests"):
        block = readme.split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0]
        commands = [line for line in block.splitlines() if line.startswith("    ")]
        assert len(commands) == 1
    assert "<!-- tests -->" in (ROOT / ".ci" / "run").read_text()
