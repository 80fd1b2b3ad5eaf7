"""Once the log has failed for good, every request is still answered, each in its own way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from journal import COUNTER
from rstmdb_server.testing import ServerProcess
from wire import Wire

READS: list[Any] = [
    ("PING", {}),
    ("GET_INSTANCE", {"instance_id": "c"}),
    ("LIST_INSTANCES", {}),
    ("LIST_MACHINES", {}),
    ("WAL_READ", {"from_offset": 0}),
    ("WATCH_INSTANCE", {"instance_id": "c"}),
    ("WATCH_ALL", {}),
    ("WAL_STATS", {}),
    ("INFO", {}),
]
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("PUT_MACHINE", {"machine": "other", "version": 1, "definition": COUNTER}),
    ("CREATE_INSTANCE", {"machine": "counter", "version": 1}),
    ("APPLY_EVENT", {"instance_id": "c", "event": "COUNT"}),
    ("DELETE_INSTANCE", {"instance_id": "c"}),
    ("FLUSH_ALL", {}),
    ("COMPACT", {"force_snapshot": True}),
]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose log has failed: one fdatasync answered EIO."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace, which makes an fdatasync fail, is not installed")
    folder = tmp_path_factory.mktemp("failed")
    inject = "inject=fdatasync:error=EIO:when=20"
    command = (strace, "-D", "-f", "-q", "-e", "trace=fdatasync", "-e", inject,
               "-o", str(folder / "strace.log"))  # fmt: skip
    env = {"RSTMDB_ALLOW_FLUSH_ALL": "true", "RSTMDB_FSYNC_POLICY": "every_write"}
    with ServerProcess(folder, env, command=command) as server:
        with Wire(server.host, server.port) as wire:
            wire.call("PUT_MACHINE", machine="counter", version=1, definition=COUNTER)
            wire.call("CREATE_INSTANCE", machine="counter", version=1, instance_id="c")
            answers = (wire.request("APPLY_EVENT", instance_id="c", event="COUNT")
                       for _ in range(200))  # fmt: skip
            refused = next(answer for answer in answers if answer["status"] == "error")
            assert refused["error"]["code"] == "WAL_IO_ERROR"
        yield server


@pytest.mark.parametrize(("op", "params"), READS)
def test_what_was_released_is_still_read(
    failed: ServerProcess, op: str, params: dict[str, Any]
) -> None:
    with Wire(failed.host, failed.port) as wire:
        assert wire.response(wire.send(op, params), timeout=3)["status"] == "ok"


@pytest.mark.parametrize(("op", "params"), WRITES)
def test_what_needs_the_log_is_refused(
    failed: ServerProcess, op: str, params: dict[str, Any]
) -> None:
    with Wire(failed.host, failed.port) as wire:
        answer = wire.response(wire.send(op, params), timeout=3)
        assert answer["status"] == "error"
        assert answer["error"]["code"] == "WAL_IO_ERROR"
