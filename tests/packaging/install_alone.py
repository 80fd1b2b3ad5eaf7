"""Install each built wheel into an empty environment of its own, and import it.

Siblings come from the same folder of wheels, everything else from the registry. The client's
environment must hold none of the server's side. Run by `nox -s packages`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

DISTRIBUTIONS = ("protocol", "wal", "core", "storage", "server", "client", "cli", "bench")
SERVER_SIDE = {"rstmdb-server", "rstmdb-storage", "rstmdb-core", "rstmdb-wal"}
CLIENT_SIDE = ("client", "cli", "bench")


def check(name: str, dist: Path, folder: Path) -> list[str]:
    """Install one wheel alone; what is wrong with the result."""
    environment = folder / name
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    wheel = next(dist.glob(f"rstmdb_{name}-*.whl"))
    subprocess.run([python, "-m", "pip", "install", "-q", "--find-links", dist, wheel], check=True)
    subprocess.run([python, "-c", f"import rstmdb_{name}"], check=True, cwd=folder)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    installed = {line.partition("==")[0] for line in listed.splitlines()}
    print(f"rstmdb-{name}: {', '.join(sorted(installed - {'pip', 'setuptools'}))}")
    wrong = []
    if name in CLIENT_SIDE and installed & SERVER_SIDE:
        wrong.append(f"rstmdb-{name} pulls in {sorted(installed & SERVER_SIDE)}")
    if "rstmdb" in installed:
        wrong.append(f"rstmdb-{name} pulls in the shipped client of another project")
    return wrong


def main() -> int:
    """Check every distribution; the exit code."""
    dist = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        wrong = [line for name in DISTRIBUTIONS for line in check(name, dist, Path(folder))]
    print("\n".join(wrong) or "each distribution installs alone and imports")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
