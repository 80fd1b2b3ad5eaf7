"""Empty environments with built wheels in them, made by uv."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DISTRIBUTIONS = ("protocol", "wal", "core", "storage", "server", "client", "cli", "bench")


def wheel_of(name: str, dist: Path) -> Path:
    """The one wheel of rstmdb-`name` in `dist`."""
    (wheel,) = dist.glob(f"rstmdb_{name}-*.whl")
    return wheel


def make_environment(folder: Path, python: Path, dist: Path, *wheels: str) -> Path:
    """A new environment with `wheels` (names with extras: "cli[offline]"); its folder of commands.

    Siblings come from `dist` and from nowhere else, everything else from the registry.
    """
    uv = [sys.executable, "-m", "uv", "-q"]
    subprocess.run(
        [*uv, "venv", "--no-project", "--no-python-downloads", "--python", python, folder],
        check=True,
    )
    constraints = folder / "siblings.txt"
    constraints.write_text(
        "".join(f"rstmdb-{name} @ {wheel_of(name, dist).as_uri()}\n" for name in DISTRIBUTIONS)
    )
    requirements = []
    for wheel in wheels:
        name, bracket, extras = wheel.partition("[")
        requirements.append(f"rstmdb-{name}{bracket}{extras} @ {wheel_of(name, dist).as_uri()}")
    subprocess.run(
        [
            *uv, "pip", "install", "--python", folder / "bin" / "python",
            "--constraints", constraints, *requirements,
        ],
        check=True,
    )  # fmt: skip
    return folder / "bin"
