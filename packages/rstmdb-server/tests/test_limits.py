"""Limits of the server, each met by a client that goes over it, over a real socket."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from rstmdb_server.testing import ServerProcess
from wire import Refused, Wire

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}


def test_one_connection_too_many_is_told_so_and_closed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"RSTMDB_MAX_CONNECTIONS": "3"}) as server, ExitStack() as stack:
        kept = [stack.enter_context(Wire(server.host, server.port)) for _ in range(3)]
        over = stack.enter_context(Wire(server.host, server.port, hello=False))
        answer = over.response(over.send("PING", id="p-1"))
        assert answer["error"]["code"] == "RATE_LIMITED"
        assert answer["error"]["retryable"] is True
        assert over.closed_by_server()
        invalid = stack.enter_context(Wire(server.host, server.port, hello=False))
        invalid.send_json({"id": "1", "op": "NOPE"})
        assert invalid.receive()["error"]["code"] == "RATE_LIMITED"
        assert invalid.closed_by_server()
        assert all(wire.call("PING") == {"pong": True} for wire in kept)
        kept.pop().call("BYE")
        deadline = time.monotonic() + 5
        while True:
            with Wire(server.host, server.port, hello=False) as again:
                if again.request("PING")["status"] == "ok":
                    break
            assert time.monotonic() < deadline


def test_a_connection_that_says_nothing_whole_is_closed_at_the_deadline(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS": "1"}) as server,
        server.connect() as silent,
        server.connect() as trickling,
        Wire(server.host, server.port) as talks,
    ):
        trickling.sendall(b"RCPX")
        began = time.monotonic()
        for one in (silent, trickling):
            assert one.recv(1) == b""
        assert 0.5 < time.monotonic() - began < 5
        assert talks.call("PING") == {"pong": True}


def test_an_idle_connection_is_closed_and_a_watching_one_is_not(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_IDLE_TIMEOUT": "1"}) as server,
        Wire(server.host, server.port) as idle,
        Wire(server.host, server.port) as watching,
    ):
        watching.call("WATCH_ALL")
        assert idle.closed_by_server(timeout=6)
        assert watching.call("PING") == {"pong": True}


def test_a_thousand_pipelined_writes_pause_reading_and_all_are_answered(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_LIMIT_MAX_INFLIGHT": "10"}) as server,
        Wire(server.host, server.port) as wire,
    ):
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
        ids = [
            wire.send("APPLY_EVENT", {"instance_id": "r", "event": "T", "payload": {"n": n}})
            for n in range(1000)
        ]
        assert [wire.response(i)["result"]["ctx"]["n"] for i in ids] == list(range(1000))


def test_subscriptions_over_the_limit_are_refused(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_LIMIT_MAX_SUBSCRIPTIONS": "2"}) as server,
        Wire(server.host, server.port) as wire,
    ):
        first = wire.call("WATCH_ALL")["subscription_id"]
        wire.call("WATCH_ALL")
        with pytest.raises(Refused) as refused:
            wire.call("WATCH_ALL")
        assert refused.value.code == "RATE_LIMITED"
        wire.call("UNWATCH", subscription_id=first)
        wire.call("WATCH_ALL")


def test_a_client_that_does_not_read_is_paused_and_does_not_fill_the_memory(
    tmp_path: Path,
) -> None:
    with (
        ServerProcess(tmp_path) as server,
        Wire(server.host, server.port) as other,
        Wire(server.host, server.port) as deaf,
    ):
        other.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        other.call(
            "CREATE_INSTANCE", machine="ring", version=1, instance_id="big",
            initial_ctx={"text": "x" * 100_000},
        )  # fmt: skip
        before = _resident_bytes(server.pid)
        deaf.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            _send_without_reading(deaf)
        began = time.perf_counter()
        assert other.call("PING") == {"pong": True}
        assert time.perf_counter() - began < 0.5
        assert _resident_bytes(server.pid) - before < 64 << 20


def test_a_half_open_peer_gets_its_answers_and_is_closed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Wire(server.host, server.port) as wire:
        request_id = wire.send("PING")
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.response(request_id)["status"] == "ok"
        assert wire.closed_by_server()


def _send_without_reading(wire: Wire) -> None:
    for _ in range(100_000):
        wire.send("GET_INSTANCE", {"instance_id": "big"})


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
