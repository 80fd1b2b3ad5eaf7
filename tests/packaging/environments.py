"""Empty environments with built wheels in them, made by uv."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

DISTRIBUTIONS = ("protocol", "wal", "core", "storage", "server", "client", "cli", "bench")


def wheel_of(name: str, dist: Path) -> Path:
    """The one wheel of rstmdb-`name` in `dist`."""
    (wheel,) = dist.glob(f"rstmdb_{name}-*.whl")
    return wheel


def lower_bounds(dist: Path) -> list[str]:
    """What the wheels in `dist` require of others, such as "anyio>=4.4"; extras left out."""
    found: set[str] = set()
    for name in DISTRIBUTIONS:
        with zipfile.ZipFile(wheel_of(name, dist)) as wheel:
            (metadata,) = (one for one in wheel.namelist() if one.endswith(".dist-info/METADATA"))
            text = wheel.read(metadata).decode()
        found |= set(re.findall(r"^Requires-Dist: (?!rstmdb)([^;\n]+)$", text, re.MULTILINE))
    return sorted(found)


def make_environment(
    folder: Path, python: Path, dist: Path, *wheels: str, lowest: bool = False
) -> Path:
    """A new environment with `wheels` (names with extras: "cli[offline]"); its folder of commands.

    Siblings come from `dist` and from nowhere else, everything else from the registry; where
    `lowest` is set, what our distributions require in the lowest version that they allow.
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
    requirements = lower_bounds(dist) if lowest else []
    for wheel in wheels:
        name, bracket, extras = wheel.partition("[")
        requirements.append(f"rstmdb-{name}{bracket}{extras} @ {wheel_of(name, dist).as_uri()}")
    subprocess.run(
        [
            *uv, "pip", "install", "--python", folder / "bin" / "python",
            "--resolution", "lowest-direct" if lowest else "highest",
            "--constraints", constraints, *requirements,
        ],
        check=True,
    )  # fmt: skip
    return folder / "bin"
