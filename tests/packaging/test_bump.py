"""One command moves the whole tree to a version, or leaves it as it was and says why."""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a bump reads."""
    copy = tmp_path / "tree"
    for path in [ROOT / "CHANGELOG.md", *ROOT.glob("packages/*/pyproject.toml")]:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    changelog = copy / "CHANGELOG.md"
    changelog.write_text(
        re.sub(r"^## .*$", "## Unreleased", changelog.read_text(), count=1, flags=re.MULTILINE)
    )
    return copy


def bump(tree: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tests" / "packaging" / "bump.py", version, "--root", tree],
        capture_output=True,
        text=True,
    )


def versions(tree: Path) -> set[str]:
    """Every version of a distribution and of a pinned sibling."""
    found = set()
    for path in tree.glob("packages/*/pyproject.toml"):
        table = tomllib.loads(path.read_text())["project"]
        extras = [one for group in table.get("optional-dependencies", {}).values() for one in group]
        pins = [one for one in [*table["dependencies"], *extras] if one.startswith("rstmdb-")]
        found |= {table["version"], *(pin.partition("==")[2] for pin in pins)}
    return found


def test_all_distributions_and_pins_move_together(tree: Path) -> None:
    moved = bump(tree, "7.8.9")
    assert (moved.returncode, moved.stderr) == (0, "")
    assert versions(tree) == {"7.8.9"}


def test_nothing_else_in_the_files_changes(tree: Path) -> None:
    bump(tree, "7.8.9")
    for path in ROOT.glob("packages/*/pyproject.toml"):
        old = path.read_text().splitlines()
        new = (tree / path.relative_to(ROOT)).read_text().splitlines()
        changed = [after for before, after in zip(old, new, strict=True) if before != after]
        assert changed
        assert all("7.8.9" in line for line in changed)


def test_the_changelog_gets_the_version_and_the_date(tree: Path) -> None:
    before = (tree / "CHANGELOG.md").read_text()
    bump(tree, "7.8.9")
    after = (tree / "CHANGELOG.md").read_text()
    head = re.search(r"^## 7\.8\.9 \(\d{4}-\d\d-\d\d\)$", after, re.MULTILINE)
    assert head is not None
    assert after.replace(head[0], "## Unreleased") == before


def test_a_section_that_names_its_version_counts_too(tree: Path) -> None:
    changelog = tree / "CHANGELOG.md"
    (current,) = versions(tree)
    changelog.write_text(
        changelog.read_text().replace("## Unreleased", f"## {current} (unreleased)")
    )
    assert bump(tree, current).returncode == 0
    assert re.search(rf"^## {re.escape(current)} \(\d", changelog.read_text(), re.MULTILINE)
    again = bump(tree, current)
    assert again.returncode == 1
    assert "released once" in again.stderr


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("banana", "'banana' is no version"),
        ("1.0.0-rc1", "write '1.0.0-rc1' as '1.0.0rc1'"),
        ("0.0.1", "0.0.1 is lower than"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_touched(
    tree: Path, version: str, said: str, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(tree, before)
    refused = bump(tree, version)
    assert refused.returncode == 1
    assert said in refused.stderr
    compared = filecmp.dircmp(before, tree)
    assert not compared.diff_files
    assert versions(tree) == versions(before)


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ("# Changelog\n\n## 0.1.0 (2020-01-01)\n\n- Old.\n", "0 unreleased sections"),
        ("# Changelog\n\n## Unreleased\n\n## 0.1.0 (2020-01-01)\n\n- Old.\n", "says nothing"),
    ],
)
def test_a_version_of_which_nothing_is_said_is_refused(
    tree: Path, changelog: str, said: str
) -> None:
    (tree / "CHANGELOG.md").write_text(changelog)
    before = versions(tree)
    refused = bump(tree, "7.8.9")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert versions(tree) == before


def test_a_sibling_that_is_not_pinned_is_noticed(tree: Path) -> None:
    path = tree / "packages" / "rstmdb-client" / "pyproject.toml"
    path.write_text(re.sub(r'"rstmdb-protocol==[^"]+"', '"rstmdb-protocol>=0.1"', path.read_text()))
    refused = bump(tree, "7.8.9")
    assert refused.returncode == 1
    assert "'rstmdb-protocol>=0.1' is not pinned" in refused.stderr
    assert "7.8.9" not in (tree / "CHANGELOG.md").read_text()
