"""A real server process for tests and demonstrations: started, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

__all__ = ["ServerProcess", "ServerStartError"]

START_TIMEOUT_SECS = 30.0
STOP_TIMEOUT_SECS = 20.0


class ServerStartError(Exception):
    """The server did not come up; the message holds what it wrote to its log."""


class ServerProcess:
    """`rstmdb-server` as a process of its own, on a free port of the loopback interface.

    `folder` gets the data directory and the log `server.log`. `env` holds RSTMDB_* settings,
    `command` what to run in the server's place (its arguments follow), for example strace.
    `module` is what `python -m` runs, for a server that is started in another way.
    The port stays the same over restarts.
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        command: tuple[str, ...] = (),
        config: Path | None = None,
        module: str = "rstmdb_server",
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.log_path = folder / "server.log"
        self.host = "127.0.0.1"
        self.port = 0
        self._env = dict(env or {})
        self._command = command
        self._config = config
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running.pid

    def start(self, **env: str) -> ServerProcess:
        """Start and wait until the server listens. Raises ServerStartError."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RSTMDB_")}
        begin = self.log_path.stat().st_size if self.log_path.exists() else 0
        arguments = [*self._command, sys.executable, "-m", self._module]
        arguments += ["--data-dir", str(self.data_dir), "--bind", self.address]
        if self._config is not None:
            arguments += ["--config", str(self._config)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**inherited, "RSTMDB_LOG_FORMAT": "json", **self._env, **env},
            )
        self._wait_until_listening(begin)
        return self

    def _wait_until_listening(self, begin: int) -> None:
        process = self._running
        deadline = time.monotonic() + START_TIMEOUT_SECS
        while time.monotonic() < deadline:
            written = self.log_path.read_bytes()[begin:]
            for line in written.splitlines():
                port = _listening_port(line)
                if port is not None:
                    self.port = port
                    return
            if process.poll() is not None:
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        raise ServerStartError(self.log_path.read_bytes()[begin:].decode(errors="replace"))

    def kill(self) -> None:
        """SIGKILL: nothing that the server does about it counts."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code of the graceful stop."""
        return self._signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal and go on, for example SIGHUP for a reload."""
        self._running.send_signal(number)

    def wait(self) -> int:
        """Wait for the process to end; its exit code."""
        return self._running.wait(STOP_TIMEOUT_SECS)

    def _signal(self, number: int) -> int:
        process = self._running
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(STOP_TIMEOUT_SECS)

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A plain connection to the server."""
        connection = socket.create_connection((self.host, self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def log_lines(self) -> list[str]:
        """What the server has logged so far."""
        return self.log_path.read_text(errors="replace").splitlines()

    def __enter__(self) -> ServerProcess:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill it if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _listening_port(line: bytes) -> int | None:
    try:
        message = json.loads(line).get("message", "")
    except (ValueError, AttributeError):
        return None
    if not message.startswith("listening on "):
        return None
    return int(message.split()[2].rpartition(":")[2])
