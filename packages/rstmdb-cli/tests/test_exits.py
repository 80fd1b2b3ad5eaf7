"""How a command ends: exit codes, messages on standard error, never a traceback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rstmdb_cli.session import Session
from rstmdb_protocol import ErrorCode
from rstmdb_server.testing import ServerProcess
from wire import Wire

Run = Callable[..., Result]
Spawn = Callable[..., "subprocess.Popen[str]"]

EXITS = {
    ErrorCode.UNSUPPORTED_PROTOCOL: 1,
    ErrorCode.BAD_REQUEST: 1,
    ErrorCode.UNAUTHORIZED: 4,
    ErrorCode.AUTH_FAILED: 4,
    ErrorCode.NOT_FOUND: 5,
    ErrorCode.MACHINE_NOT_FOUND: 5,
    ErrorCode.MACHINE_VERSION_EXISTS: 5,
    ErrorCode.MACHINE_VERSION_LIMIT_EXCEEDED: 5,
    ErrorCode.INSTANCE_NOT_FOUND: 5,
    ErrorCode.INSTANCE_EXISTS: 5,
    ErrorCode.INVALID_TRANSITION: 5,
    ErrorCode.GUARD_FAILED: 5,
    ErrorCode.CONFLICT: 5,
    ErrorCode.WAL_IO_ERROR: 1,
    ErrorCode.INTERNAL_ERROR: 1,
    ErrorCode.RATE_LIMITED: 1,
}


def test_every_error_code_has_its_exit_code(invoke: Run, fake: Callable[..., Any]) -> None:
    assert set(EXITS) == set(ErrorCode)
    for code, exit_code in EXITS.items():
        error = {"code": code.value, "message": "no", "retryable": False}
        answering = fake(lambda _, error=error: {"status": "error", "error": error})
        result = invoke("-s", answering.address, "ping")
        assert (result.exit_code, result.stdout) == (exit_code, ""), code
        assert result.stderr.startswith(f"rstmdb-cli: {code.value}: no")
        assert result.stderr.count("\n") == 1


def test_a_code_that_is_not_known_is_a_server_error(invoke: Run, fake: Callable[..., Any]) -> None:
    error = {"code": "NEW", "message": "no", "retryable": False}
    answering = fake(lambda _: {"status": "error", "error": error})
    result = invoke("-s", answering.address, "ping")
    assert (result.exit_code, result.stderr) == (1, "rstmdb-cli: NEW: no\n")


# -- as a process ----------------------------------------------------------------------------------


def test_a_process_ends_with_the_code(server: ServerProcess, wire: Wire, spawn: Spawn) -> None:
    for arguments, expected in (
        (("-s", server.address, "ping"), (0, "pong  true\n")),
        (("-s", server.address, "put-machine", "-n", "m", "-v", "1", "{}"), (1, "")),
        (("nope",), (2, "")),
        (("-s", "127.0.0.1:1", "ping"), (3, "")),
        (("-s", server.address, "get-instance", "none"), (5, "")),
    ):
        process = spawn(*arguments)
        stdout, stderr = process.communicate()
        assert (process.returncode, stdout) == expected
        assert bool(stderr) == (expected[0] != 0)
        assert "Traceback" not in stderr


def test_the_installed_script_is_the_same_command() -> None:
    script = shutil.which("rstmdb-cli", path=str(Path(sys.executable).parent))
    assert script is not None
    shown = subprocess.run([script, "hash-token", "abc"], capture_output=True, text=True)
    assert shown.stdout.startswith("ba7816bf")


def test_ctrl_c_is_130(fake: Callable[..., Any], spawn: Spawn) -> None:
    silent = fake(lambda _: None)
    process = spawn("-s", silent.address, "ping")
    while silent.seen.get()["op"] != "PING":
        pass
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr


def test_ctrl_c_while_it_reads_standard_input_is_130(spawn: Spawn, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = spawn("put-machine", "-n", "m", "-v", "1", f"@{fifo}")
    with fifo.open("w"):  # which waits until the process reads
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr


def test_a_reader_that_goes_away_is_no_traceback(
    server: ServerProcess, wire: Wire, spawn: Spawn
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = spawn("-s", server.address, "wal-read", stdout=writing)
    os.close(writing)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (1, "")


# -- unreachable, timeouts -------------------------------------------------------------------------


def test_a_server_that_is_not_there(invoke: Run) -> None:
    result = invoke("--json", "-s", "127.0.0.1:1", "ping")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "127.0.0.1:1: " in result.stderr
    assert "RSTMDB_SERVER" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_connection_that_breaks(invoke: Run, fake: Callable[..., Any]) -> None:
    def close(_: object) -> None:
        raise ConnectionAbortedError

    url = f"rstmdb://{fake(close).address}?retry_timeout=0"
    for command in (("ping",), ("flush-all", "--yes")):
        result = invoke("--url", url, *command)
        assert (result.exit_code, result.stdout) == (3, "")
    assert "it may have been done or not" in result.stderr


def test_a_server_that_does_not_answer_in_time(invoke: Run, fake: Callable[..., Any]) -> None:
    silent = fake(lambda _: None)
    result = invoke("--url", f"rstmdb://{silent.address}?request_timeout=0.1", "ping")
    assert (result.exit_code, result.stdout) == (6, "")
    assert "no answer in time" in result.stderr


# -- tokens ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that wants the token `abc`."""
    env = {
        "RSTMDB_AUTH_REQUIRED": "true",
        "RSTMDB_AUTH_TOKEN_HASH": (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        ),
    }
    with ServerProcess(tmp_path_factory.mktemp("guarded"), env) as process:
        yield process


def test_a_token_is_asked_for_and_checked(invoke: Run, guarded: ServerProcess) -> None:
    on = ("-s", guarded.address)
    none = invoke(*on, "info")
    assert (none.exit_code, none.stdout) == (4, "")
    assert none.stderr.startswith("rstmdb-cli: UNAUTHORIZED: ")
    assert "RSTMDB_TOKEN" in none.stderr
    wrong = invoke(*on, "--token", "wrong", "info")
    assert (wrong.exit_code, wrong.stdout) == (4, "")
    assert wrong.stderr.startswith("rstmdb-cli: AUTH_FAILED: ")
    assert invoke(*on, "-t", "abc", "info").exit_code == 0
    assert invoke(*on, "info", env={"RSTMDB_TOKEN": "abc"}).exit_code == 0
    assert invoke("info", env={"RSTMDB_URL": f"rstmdb://abc@{guarded.address}"}).exit_code == 0


def test_a_watch_without_a_token_is_refused(invoke: Run, guarded: ServerProcess) -> None:
    result = invoke("-s", guarded.address, "watch-all")
    assert (result.exit_code, result.stdout) == (4, "")


# -- what nobody expected --------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on two\nlines")

    monkeypatch.setattr(Session, "call", call)


@pytest.mark.usefixtures("broken")
def test_an_unexpected_exception_is_one_line(invoke: Run) -> None:
    result = invoke("ping")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "rstmdb-cli: ZeroDivisionError: on two lines\n"


@pytest.mark.usefixtures("broken")
def test_an_unexpected_exception_is_a_traceback_when_verbose(invoke: Run) -> None:
    result = invoke("-v", "ping")
    assert result.exit_code == 1
    first, second, *_ = result.stderr.splitlines()
    assert first == "rstmdb-cli: ZeroDivisionError: on two lines"
    assert second == "Traceback (most recent call last):"
