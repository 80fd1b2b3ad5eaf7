"""What every answer carries, and in which wire mode it leaves, over a real socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rstmdb_server.testing import ServerProcess
from wire import Wire, frame

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}
HELLO = {"protocol_version": 1}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("HELLO", HELLO),
    ("AUTH", {"method": "bearer", "token": "any"}),
    ("PING", {}),
    ("INFO", {}),
    ("PUT_MACHINE", {"machine": "ring", "version": 1, "definition": RING}),
    ("GET_MACHINE", {"machine": "ring"}),
    ("LIST_MACHINES", {}),
    ("CREATE_INSTANCE", {"machine": "ring", "version": 1, "instance_id": "r"}),
    ("GET_INSTANCE", {"instance_id": "r"}),
    ("LIST_INSTANCES", {}),
    ("APPLY_EVENT", {"instance_id": "r", "event": "T"}),
    ("BATCH", {"ops": [{"op": "GET_INSTANCE", "params": {"instance_id": "r"}}]}),
    ("WAL_READ", {"from_offset": 0}),
    ("WAL_STATS", {}),
    ("SNAPSHOT_INSTANCE", {"instance_id": "r"}),
    ("COMPACT", {}),
    ("BACKUP", {"name": "b"}),
    ("WATCH_INSTANCE", {"instance_id": "r"}),
    ("WATCH_ALL", {}),
    ("UNWATCH", {"subscription_id": "sub-1"}),
    ("DELETE_INSTANCE", {"instance_id": "r"}),
    ("FLUSH_ALL", {}),
    ("BYE", {}),
]
REFUSED: list[tuple[str, Any]] = [
    ("GET_INSTANCE", {"instance_id": "nobody"}),
    ("GET_INSTANCE", {}),
    ("NOPE", {}),
    ("HELLO", {"protocol_version": 7}),
    ("AUTH", {"method": "magic", "token": "x"}),
    ("BATCH", {"mode": "atomic", "ops": [{"op": "GET_INSTANCE", "params": {}}]}),
    ("WATCH_ALL", {"from_offset": "soon"}),
    ("BACKUP", {"name": "../up"}),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("answers")
    env = {"RSTMDB_ALLOW_FLUSH_ALL": "true", "RSTMDB_BACKUP_DIR": str(folder / "backups")}
    with ServerProcess(folder, env) as running:
        yield running


def test_every_operation_echoes_the_trace_id_of_its_request(server: ServerProcess) -> None:
    with Wire(server.host, server.port, hello=False) as wire:
        for number, (op, params) in enumerate(CALLS):
            answer = wire.response(wire.send(op, params, meta={"trace_id": f"t-{number}"}))
            assert answer["status"] == "ok", answer
            assert answer["meta"]["trace_id"] == f"t-{number}", op


@pytest.mark.parametrize(("op", "params"), REFUSED)
def test_every_refusal_echoes_the_trace_id_of_its_request(
    server: ServerProcess, op: str, params: dict[str, Any]
) -> None:
    with Wire(server.host, server.port, hello=False) as wire:
        answer = wire.response(wire.send(op, params, meta={"trace_id": "t"}))
        assert answer["status"] == "error"
        assert answer["meta"] == {"trace_id": "t"}


def test_what_is_over_the_rate_limit_is_refused_with_its_trace_id(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_LIMIT_REQUESTS_PER_SECOND": "2"}) as server,
        Wire(server.host, server.port, hello=False) as wire,
    ):
        ids = [wire.send("PING", {}, meta={"trace_id": f"t-{n}"}) for n in range(20)]
        answers = [wire.response(request_id) for request_id in ids]
        assert [a["meta"]["trace_id"] for a in answers] == [f"t-{n}" for n in range(20)]
        assert {a.get("error", {}).get("code") for a in answers} == {None, "RATE_LIMITED"}


def test_an_answer_owed_from_before_hello_leaves_in_the_mode_it_was_asked_for_in(
    server: ServerProcess,
) -> None:
    """A write waits for its sync; HELLO behind it in the same packet switches to lines."""
    requests = [
        {"id": "1", "op": "PUT_MACHINE",
         "params": {"machine": "switch", "version": 1, "definition": RING}},
        {"id": "2", "op": "HELLO", "params": {**HELLO, "wire_modes": ["jsonl"]}},
    ]  # fmt: skip
    framed = b"".join(frame(json.dumps(one).encode()) for one in requests)
    with server.connect() as plain:
        plain.sendall(framed + b'{"id":"3","op":"PING"}\n')
        received = _until_closed_or(plain, b'"pong":true}}\n')
    assert received.startswith(b"RCPX")
    size = int.from_bytes(received[10:14])
    assert json.loads(received[18 : 18 + size])["id"] == "1"
    lines = received[18 + size :].splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["2", "3"]


def _until_closed_or(plain: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = plain.recv(65536)
        assert data, received
        received += data
    return received
