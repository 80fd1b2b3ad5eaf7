"""Clients that share instances, across kills: every history is linearizable."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from journal import read_log
from linearizability import Operation, timed, violations
from rstmdb_server.testing import ServerProcess
from wire import Wire

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
SCALE = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
INSTANCES = ("a", "b", "c")
TOGGLE = {
    "states": ["off", "on"],
    "initial": "off",
    "transitions": [
        {"from": ["off", "on"], "event": "SET", "to": "on"},
        {"from": "on", "event": "CLEAR", "to": "off"},
    ],
}


class Client(threading.Thread):
    """Reads and writes at random until the connection breaks; notes each answered call."""

    def __init__(self, server: ServerProcess, name: str, history: list[Operation]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._rng = random.Random(name)
        self._name = name
        self._history = history
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with Wire(self._server.host, self._server.port) as wire:
                for number in range(1_000_000):
                    self._one(wire, number)
        except (EOFError, OSError):
            return
        except Exception as error:  # noqa: BLE001 (told by the test's own thread)
            self.failure = error

    def _one(self, wire: Wire, number: int) -> None:
        instance_id = self._rng.choice(INSTANCES)
        if self._rng.random() < 0.4:
            began, answer, ended = timed(wire, "GET_INSTANCE", {"instance_id": instance_id})
            result = answer["result"]
            self._note("read", instance_id, began, ended, result["last_wal_offset"],
                       result["ctx"].get("v"))  # fmt: skip
            return
        value = f"{self._name}-{number}"
        params = {
            "instance_id": instance_id,
            "event": self._rng.choice(("SET", "CLEAR")),
            "payload": {"v": value},
        }
        began, answer, ended = timed(wire, "APPLY_EVENT", params)
        if answer["status"] == "ok":
            offset = answer["result"]["wal_offset"]
            self._note("write", instance_id, began, ended, offset, value)
        else:
            assert answer["error"]["code"] == "INVALID_TRANSITION"

    def _note(
        self, kind: str, instance_id: str, began: float, ended: float, offset: int, value: object
    ) -> None:
        self._history.append(Operation(kind, instance_id, began, ended, offset, value))


def run(folder: Path, policy: str, kills: int) -> None:
    rng = random.Random(f"{SEED}-{policy}")
    env = {"RSTMDB_FSYNC_POLICY": policy, "RSTMDB_COMPACT_ENABLED": "false"}
    server = ServerProcess(folder, env)
    history: list[Operation] = []
    for round_number in range(kills):
        with server:
            if not round_number:
                with Wire(server.host, server.port) as wire:
                    wire.call("PUT_MACHINE", machine="toggle", version=1, definition=TOGGLE)
                    for one in INSTANCES:
                        wire.call("CREATE_INSTANCE", machine="toggle", version=1, instance_id=one)
            clients = [Client(server, f"{SEED}-{round_number}-{n}", history) for n in range(6)]
            for client in clients:
                client.start()
            time.sleep(0.2 + rng.random() * 0.3)
            server.kill()
            for client in clients:
                client.join(20)
                if client.failure is not None:
                    raise client.failure
    with server, Wire(server.host, server.port) as wire:
        log = read_log(wire)
    by_instance: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_instance[operation.instance_id].append(operation)
    for operations in by_instance.values():
        assert violations(operations, log) == []
    print(f"{policy}: {len(history)} operations, {kills} kills, linearizable")
    assert len(history) > 100 * kills


def test_the_checker_notices_a_stale_read_and_a_lost_write() -> None:
    def entry(value: str) -> dict[str, object]:
        return {"type": "apply_event", "payload": {"v": value}}

    log = {10: entry("x"), 20: entry("y")}
    x = Operation("write", "a", 0.0, 1.0, 10, "x")
    y = Operation("write", "a", 2.0, 3.0, 20, "y")
    assert violations([x, y], log) == []
    assert violations([x, y, Operation("read", "a", 2.5, 3.5, 10, "x")], log) == []
    assert violations([x, y, Operation("read", "a", 4.0, 5.0, 10, "x")], log)
    assert violations([x, y], {10: entry("x")})
    assert violations([Operation("write", "a", 4.0, 5.0, 10, "x"), y], log)
    assert violations([Operation("read", "a", 0.0, 9.0, 10, "z")], log)


@pytest.mark.parametrize("policy", ["every_write", "every_ms:20"])
def test_histories_across_kills_are_linearizable(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("policy", ["every_write", "every_n:10", "every_ms:20", "never"])
def test_long_histories_across_many_kills_are_linearizable(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 20 * SCALE)
