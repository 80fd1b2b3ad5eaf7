"""The interpreters to try a release with: every version that the distributions say they support.

Looked for on the PATH, among pyenv's, and among uv's; nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLASSIFIER = "Programming Language :: Python :: "


def supported() -> list[str]:
    """Versions such as 3.11, from the classifiers; rising."""
    text = (ROOT / "packages" / "rstmdb-server" / "pyproject.toml").read_text()
    found = [
        one.removeprefix(CLASSIFIER)
        for one in tomllib.loads(text)["project"]["classifiers"]
        if re.fullmatch(re.escape(CLASSIFIER) + r"\d+\.\d+", one)
    ]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def find(version: str) -> Path | None:
    """An interpreter of that version, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = subprocess.run(
        [sys.executable, "-m", "uv", "-q", "python", "find", "--managed-python",
         "--no-python-downloads", version],
        capture_output=True,
        text=True,
    )  # fmt: skip
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True),
        uv.stdout.strip() or None,
    ]
    for candidate in candidates:
        if candidate is not None and _version_of(Path(candidate)) == version:
            return Path(candidate)
    return None


def installed() -> list[Path]:
    """All that are found; says which are not. Raises RuntimeError where there is none at all."""
    found = []
    for version in supported():
        python = find(version)
        if python is None:
            print(f"-- Python {version} is not installed here: not tried")
        else:
            found.append(python)
    if not found:
        raise RuntimeError("none of the supported versions of Python is installed")
    return found


def _version_of(python: Path) -> str | None:
    """What it says itself: a shim may stand for nothing at all."""
    asked = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
    )
    return asked.stdout.strip() if asked.returncode == 0 else None
