"""Move every distribution, its pins on siblings and the changelog to a version, all or nothing.

    python bump.py VERSION

The changelog's section `## Unreleased` (or `## VERSION (unreleased)`) becomes the version's, with
the date of the day in UTC. A version may be bumped to itself while it is unreleased.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[2]
SIBLING = re.compile(r"(?P<name>rstmdb-[a-z]+(\[[a-z,]+\])?)==(?P<version>.+)")
UNRELEASED = re.compile(r"^## (Unreleased|\S+ \(unreleased\))$", re.MULTILINE | re.IGNORECASE)


class BumpRefused(Exception):
    """Nothing was changed; the message says why and what to do."""


def plan(root: Path, wanted: str, date: str) -> dict[Path, str]:
    """The files that change, with their new contents. Raises BumpRefused."""
    try:
        version = Version(wanted)
    except InvalidVersion as error:
        raise BumpRefused(f"{wanted!r} is no version; 1.2.3 or 1.2.3rc1 is one") from error
    if str(version) != wanted:
        raise BumpRefused(f"write {wanted!r} as {str(version)!r}, as a registry will")
    projects = {path: path.read_text() for path in sorted(root.glob("packages/*/pyproject.toml"))}
    found = {str(_table(text)["version"]) for text in projects.values()}
    if len(found) != 1:
        raise BumpRefused(
            f"the distributions have more than one version: {', '.join(sorted(found))}"
        )
    (current,) = found
    if version < Version(current):
        raise BumpRefused(f"{wanted} is lower than {current}; a version never comes back")
    changelog = root / "CHANGELOG.md"
    changes = {changelog: _released(changelog.read_text(), wanted, date)}
    for path, text in projects.items():
        changes[path] = _moved(path, text, current, wanted)
    return changes


def _table(text: str) -> Any:
    return tomlkit.parse(text)["project"]


def _moved(path: Path, text: str, current: str, wanted: str) -> str:
    """A pyproject.toml with its version and its siblings moved, all else as it is."""
    document = tomlkit.parse(text)
    project: Any = document["project"]
    project["version"] = wanted
    for requirements in (
        project["dependencies"],
        *project.get("optional-dependencies", {}).values(),
    ):
        for number, requirement in enumerate(requirements):
            if not requirement.startswith("rstmdb-"):
                continue
            pin = SIBLING.fullmatch(requirement)
            if pin is None or pin["version"] != current:
                raise BumpRefused(f"{path}: {requirement!r} is not pinned to {current}")
            requirements[number] = f"{pin['name']}=={wanted}"
    return tomlkit.dumps(document)


def _released(text: str, wanted: str, date: str) -> str:
    """The changelog with its unreleased section given to the version."""
    if re.search(rf"^## {re.escape(wanted)} \(\d{{4}}-", text, re.MULTILINE):
        raise BumpRefused(f"CHANGELOG.md has {wanted} already; a version is released once")
    heads = list(UNRELEASED.finditer(text))
    if len(heads) != 1:
        raise BumpRefused(
            f"CHANGELOG.md has {len(heads)} unreleased sections, not one; "
            "write what changed for users below '## Unreleased'"
        )
    head = heads[0]
    following = text.find("\n## ", head.end())
    if not text[head.end() : None if following < 0 else following].strip():
        raise BumpRefused("CHANGELOG.md says nothing below its unreleased section")
    return f"{text[: head.start()]}## {wanted} ({date}){text[head.end() :]}"


def main() -> int:
    """Bump; the exit code."""
    parser = argparse.ArgumentParser(prog="nox -s bump --", description="Move all to a version.")
    parser.add_argument("version", metavar="X.Y.Z")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout than this one")
    arguments = parser.parse_args()
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    try:
        changes = plan(arguments.root, arguments.version, date)
    except BumpRefused as error:
        print(f"bump: error: {error}", file=sys.stderr)
        return 1
    for path, text in changes.items():
        path.write_text(text)
        print(path.relative_to(arguments.root))
    print(f"moved to {arguments.version}; look at `git diff`, then commit and tag")
    return 0


if __name__ == "__main__":
    sys.exit(main())
