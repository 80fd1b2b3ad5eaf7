import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rstmdb_server import __version__
from rstmdb_server.auth import hash_token
from rstmdb_server.testing import ServerProcess


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RSTMDB_")}
    return subprocess.run(
        [sys.executable, "-m", "rstmdb_server", *arguments],
        cwd=folder,
        env=inherited | env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def error_of(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line that tells what is wrong."""
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("rstmdb-server: error: ")
    return last.removeprefix("rstmdb-server: error: ")


def test_version_and_help_answer(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"rstmdb-server, version {__version__}\n"
    shown = run(tmp_path, "-h")
    assert shown.returncode == 0
    for option in ("--config", "RSTMDB_CONFIG", "--data-dir", "--bind", "--check-config"):
        assert option in shown.stdout


def test_checking_a_good_configuration_says_so_and_creates_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rstmdb.yaml"
    file.write_text("network:\n  wire_mode: jsonl\n")
    done = run(tmp_path, "--check-config", "--config", "rstmdb.yaml")
    assert done.returncode == 0
    assert done.stdout == "the configuration is valid\n"
    assert done.stderr.startswith("rstmdb-server: warning: rstmdb.yaml:2: network.wire_mode")
    assert list(tmp_path.iterdir()) == [file]


def test_a_bad_configuration_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "rstmdb.yaml"
    file.write_text("storage:\n  fsync: never\n")
    for arguments, env in (
        (("--config", str(file)), {}),
        (("--config", str(file), "--check-config"), {}),
        ((), {"RSTMDB_CONFIG": str(file)}),
    ):
        done = run(tmp_path, *arguments, **env)
        assert len(done.stderr.splitlines()) == 1
        message = error_of(done, 2)
        assert message.startswith(f"{file}:2: unknown key 'storage.fsync'; did you mean ")
    assert list(tmp_path.iterdir()) == [file]


def test_options_and_variables_are_checked_too(tmp_path: Path) -> None:
    assert "network.bind_addr: 'here'" in error_of(run(tmp_path, "--bind", "here"), 2)
    message = error_of(run(tmp_path, RSTMDB_AUTH_REQUIRED="true"), 2)
    assert message.startswith("auth.required: no token is configured")
    (tmp_path / "file").write_text("")
    message = error_of(run(tmp_path, "--data-dir", "file"), 2)
    assert message == f"storage.data_dir: {tmp_path / 'file'} is not a directory"
    assert "can't be read" in error_of(run(tmp_path, "--config", "none"), 2)
    assert run(tmp_path, "--what").returncode == 2


def test_a_port_that_is_taken_is_named_with_what_helps(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        message = error_of(run(tmp_path, "--bind", bind), 1)
    assert re.fullmatch(
        f"can't listen on {bind}: Address already in use; stop the process that listens "
        "there, or choose another port with network.bind_addr or --bind",
        message,
    )


def test_a_metrics_port_that_is_taken_is_named_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        env = {"RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": bind}
        message = error_of(run(tmp_path, "--bind", "127.0.0.1:0", **env), 1)
    assert message.startswith(f"can't listen on {bind}: Address already in use; ")
    assert message.endswith("with metrics.bind_addr")


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    message = error_of(run(tmp_path, "--bind", "203.0.113.7:0"), 1)
    assert message.startswith("can't listen on 203.0.113.7:0: Cannot assign requested address; ")


def test_a_directory_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as first:
        message = error_of(
            run(tmp_path, "--data-dir", str(first.data_dir), "--bind", "127.0.0.1:0"), 1
        )
        assert "is in use" in message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_tells_systemd_and_stops_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        with ServerProcess(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify")}) as server:
            assert manager.recv(100) == b"READY=1"
            os.kill(server.pid, number)
            assert manager.recv(100) == b"STOPPING=1"
            assert server.wait() == 0


def test_a_token_reaches_no_log(tmp_path: Path) -> None:
    env = {
        "RSTMDB_AUTH_REQUIRED": "true",
        "RSTMDB_AUTH_TOKEN_HASH": hash_token("hunter2"),
        "RSTMDB_LOG_LEVEL": "trace",
    }
    with ServerProcess(tmp_path, env) as server:
        for tokens in (("hunter2",), ("sesame1", "sesame2", "sesame3")):
            with server.connect() as connection, connection.makefile("rb") as answers:
                for token in tokens:
                    request = {"type": "request", "id": "1", "op": "AUTH"}
                    line = json.dumps(request | {"params": {"token": token}}) + "\n"
                    connection.sendall(line.encode())
                    known = json.loads(answers.readline())["status"] == "ok"
                    assert known is (token == "hunter2")
        assert server.stop() == 0
        log = "\n".join(server.log_lines())
    assert "stopped" in log
    assert "hunter2" not in log
    assert "sesame" not in log
    assert hash_token("hunter2") not in log
