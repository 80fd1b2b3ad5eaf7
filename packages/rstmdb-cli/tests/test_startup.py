"""What a command costs before it does anything."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from rstmdb_server.testing import ServerProcess

# A bound that a busy machine keeps too; the aim is 8.
MOST_TIMES_AN_EMPTY_PROGRAM = 12
ROUNDS = 15

HEAVY = {
    "anyio",
    "asyncio",
    "concurrent.futures",
    "email",
    "hashlib",
    "http",
    "importlib.metadata",
    "logging",
    "multiprocessing",
    "prompt_toolkit",
    "pygments",
    "rich",
    "rstmdb_cli.completing",
    "rstmdb_cli.repl",
    "rstmdb_cli.tables",
    "rstmdb_storage",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "yaml",
}
"""What most commands need not, and an own module for each of the occasions."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which compiled modules are kept, as they are after an installation."""
    kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}


def test_ping_takes_few_times_what_an_empty_program_takes(
    server: ServerProcess, environment: dict[str, str]
) -> None:
    """In processor time, which others on the same machine disturb less than the clock."""

    def seconds(*arguments: str) -> float:
        with subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    empty, ping = ("-c", "pass"), ("-m", "rstmdb_cli", "-s", server.address, "ping")
    seconds(*ping)
    rounds = [(seconds(*empty), seconds(*ping)) for _ in range(ROUNDS)]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    assert medians[1] / medians[0] <= MOST_TIMES_AN_EMPTY_PROGRAM


def imported(*arguments: str) -> set[str]:
    """The modules that a command line has imported when it is done."""
    program = (
        "import sys; from rstmdb_cli.main import main\n"
        f"try: main({list(arguments)!r}, prog_name='rstmdb-cli')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return set(shown.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("output", ["table", "json", "ndjson"])
def test_ping_imports_nothing_heavy(server: ServerProcess, output: str) -> None:
    assert imported("-s", server.address, "-o", output, "ping") & HEAVY == set()


def test_help_imports_nothing_of_what_commands_need() -> None:
    found = imported("--help")
    assert found & (HEAVY - {"rstmdb_cli.completing", "tempfile"}) == set()
    assert found & {"rstmdb_client", "msgspec"} == set()
