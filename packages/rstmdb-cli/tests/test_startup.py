"""What a command costs before it does anything."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstmdb_server.testing import ServerProcess

# A bound that a busy machine keeps too; the aim is 8.
MOST_TIMES_AN_EMPTY_PROGRAM = 12
ROUNDS = 20


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which compiled modules are kept, as they are after an installation."""
    kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}


def test_ping_takes_few_times_what_an_empty_program_takes(
    server: ServerProcess, environment: dict[str, str]
) -> None:
    def seconds(*arguments: str) -> float:
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - begin

    empty, ping = ("-c", "pass"), ("-m", "rstmdb_cli", "-s", server.address, "ping")
    seconds(*ping)
    rounds = [(seconds(*empty), seconds(*ping)) for _ in range(ROUNDS)]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    assert medians[1] / medians[0] <= MOST_TIMES_AN_EMPTY_PROGRAM


def test_help_imports_nothing_of_what_commands_need() -> None:
    program = (
        "import sys; from rstmdb_cli.main import main;"
        "main(['--help'], prog_name='rstmdb-cli', standalone_mode=False);"
        "print([name for name in ('rstmdb_client', 'msgspec', 'yaml', 'ssl', 'importlib.metadata')"
        " if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1] == "[]"
