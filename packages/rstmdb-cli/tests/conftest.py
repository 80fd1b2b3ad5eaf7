"""A real server, the command line inside the process and as a process of its own."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rstmdb_cli.main import main
from rstmdb_protocol import encode_frame
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
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The variables and profiles of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("RSTMDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


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
    """Run a command line in this process."""

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


class Fake:
    """A server that greets, notes what it is asked, and answers as a test says.

    `answer` gets a request and returns what to merge into the response; None is silence,
    and ConnectionAbortedError closes the connection.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                try:
                    while header := stream.read(18):
                        self._one(connection, stream.read(int.from_bytes(header[10:14], "big")))
                except ConnectionError:
                    continue

    def _one(self, connection: socket.socket, payload: bytes) -> None:
        request = json.loads(payload)
        self.seen.put(request)
        response: dict[str, Any] | None = {
            "status": "ok",
            "result": {"protocol_version": 1, "wire_mode": "binary_json", "features": []}
            | {"server_name": "fake", "server_version": "0"},
        }
        if request["op"] != "HELLO":
            response = self._answer(request)
        if response is not None:
            message = {"type": "response", "id": request["id"], **response}
            connection.sendall(encode_frame(json.dumps(message).encode()))


@pytest.fixture
def fake() -> Iterator[Callable[..., Fake]]:
    """Start fake servers."""
    started: list[Fake] = []

    def start(answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Fake:
        started.append(Fake(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()
