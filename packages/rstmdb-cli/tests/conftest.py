"""A real server, the command line inside the process and as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rstmdb_cli.main import main
from rstmdb_server.testing import ServerProcess
from wire import Wire

ORDER: dict[str, Any] = {
    "states": ["created", "paid", "shipped"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
    ],
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("RSTMDB_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests of a module."""
    folder: Path = tmp_path_factory.mktemp("server")
    env = {
        "RSTMDB_ALLOW_FLUSH_ALL": "true",
        "RSTMDB_BACKUP_DIR": str(folder / "backups"),
        "RSTMDB_COMPACT_ENABLED": "false",
        "RSTMDB_MAX_MACHINE_VERSIONS": "3",
    }
    with ServerProcess(folder, env) as process:
        yield process


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    """A bare connection to a database with the machine `order` and the instance `o-1`."""
    with Wire(server.host, server.port) as wire:
        wire.call("FLUSH_ALL")
        wire.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
        wire.call(
            "CREATE_INSTANCE",
            instance_id="o-1",
            machine="order",
            version=1,
            initial_ctx={"amount": 10},
        )
        yield wire


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Run a command line in this process; `server` names no server unless it is given."""

    def run(*arguments: str, **options: Any) -> Result:
        result = CliRunner().invoke(main, list(arguments), prog_name="rstmdb-cli", **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return run


@pytest.fixture
def cli(server: ServerProcess, wire: Wire, invoke: Callable[..., Result]) -> Callable[..., Result]:
    """Run a command line against the server, whose database holds `order` and `o-1`."""

    def run(*arguments: str, **options: Any) -> Result:
        return invoke("-s", server.address, *arguments, **options)

    return run


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command line as a process of its own; what still runs afterwards is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "rstmdb_cli", *arguments]
        process = subprocess.Popen(command, text=True, **(pipes | options))
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
