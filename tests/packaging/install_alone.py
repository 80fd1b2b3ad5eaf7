"""Install each built wheel into an empty environment of its own, and import it.

    python install_alone.py DIST

Siblings come from the same folder of wheels, everything else from the registry. The client's
environment must hold none of the server's side. Done with every supported version of Python that
is installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from environments import DISTRIBUTIONS, make_environment
from pythons import installed

SERVER_SIDE = {"rstmdb-server", "rstmdb-storage", "rstmdb-core", "rstmdb-wal"}
CLIENT_SIDE = ("client", "cli", "bench")
LIST = "import importlib.metadata as m; print(*(d.name for d in m.distributions()), sep='\\n')"


def check(name: str, dist: Path, python: Path, folder: Path) -> list[str]:
    """Install one wheel alone; what is wrong with the result."""
    alone = make_environment(folder / name, python, dist, name) / "python"
    subprocess.run([alone, "-W", "error", "-c", f"import rstmdb_{name}"], check=True, cwd=folder)
    listed = subprocess.run([alone, "-c", LIST], check=True, capture_output=True, text=True)
    present = set(listed.stdout.split())
    print(f"rstmdb-{name}: {', '.join(sorted(present))}")
    wrong = []
    if name in CLIENT_SIDE and present & SERVER_SIDE:
        wrong.append(f"rstmdb-{name} pulls in {sorted(present & SERVER_SIDE)}")
    if "rstmdb" in present:
        wrong.append(f"rstmdb-{name} pulls in the shipped client of another project")
    return wrong


def main() -> int:
    """Check every distribution; the exit code."""
    dist = Path(sys.argv[1]).resolve()
    wrong = []
    for python in installed():
        print(f"-- {python}")
        with tempfile.TemporaryDirectory() as folder:
            for name in DISTRIBUTIONS:
                wrong += check(name, dist, python, Path(folder))
    print("\n".join(wrong) or "each distribution installs alone and imports")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
