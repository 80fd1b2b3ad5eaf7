"""While the database is being recovered: health is answered, and a signal ends it at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rstmdb_server.testing import ServerProcess

SLOW_RECOVERY = """
import time
import rstmdb_server.server as server

opened = server.open_store

def open_slowly(*args, **options):
    time.sleep(30)
    return opened(*args, **options)

server.open_store = open_slowly
from rstmdb_server.main import main
main()
"""
"""The real server, whose recovery takes as long as that of a large log on a slow disk."""


def asked(url: str) -> tuple[int, dict[str, Any]]:
    """What is answered, once someone listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_health_is_answered_during_recovery_and_a_signal_ends_it_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    env = os.environ | {
        "RSTMDB_DATA": str(tmp_path / "data"),
        "RSTMDB_BIND": "127.0.0.1:0",
        "RSTMDB_METRICS_ENABLED": "true",
        "RSTMDB_METRICS_BIND": metrics,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RECOVERY], env=env, stderr=subprocess.DEVNULL
    )
    try:
        status, answer = asked(f"http://{metrics}/readyz")
        assert (status, answer["reason"]) == (503, "the database is being recovered")
        assert asked(f"http://{metrics}/healthz")[0] == 200
        process.send_signal(number)
        assert process.wait(10) == -number
    finally:
        process.kill()
        process.wait()
    with ServerProcess(tmp_path) as server:
        assert server.stop() == 0
