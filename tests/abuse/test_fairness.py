"""One connection that asks without end, and what it leaves behind: nobody else waits for it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from wire import frame, header

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

PING = frame(b'{"id":"1","op":"PING"}')
APPLY = frame(b'{"id":"1","op":"APPLY_EVENT","params":{"instance_id":"r","event":"T"}}')
WAL_READ = frame(b'{"id":"1","op":"WAL_READ","params":{"from_offset":0,"limit":1000}}')
STALL_MS = 50


def fill(siege: Siege) -> None:
    """Records for WAL_READ to read."""
    ops = [{"op": "APPLY_EVENT", "params": {"instance_id": "r", "event": "T"}}] * 100
    with siege.connect() as wire:
        for _ in range(20):
            wire.call("BATCH", ops=ops)


def test_a_connection_that_pipelines_without_end_and_reads_takes_turns(siege: Siege) -> None:
    def flood(greedy: socket.socket, stop: float) -> None:
        with contextlib.suppress(OSError):
            while time.monotonic() < stop:
                greedy.sendall(PING * 2000)

    def attack() -> None:
        with siege.server.connect() as greedy:
            stop = time.monotonic() + 0.5
            sender = threading.Thread(target=flood, args=(greedy, stop))
            sender.start()
            while greedy.recv(1 << 18) and time.monotonic() < stop:
                pass
            greedy.shutdown(socket.SHUT_RDWR)
            sender.join()

    siege.withstands("PING pipelined without end, read", attack, seconds=1)


def test_log_reads_that_are_pipelined_are_done_one_by_one(siege: Siege) -> None:
    fill(siege)

    def attack() -> None:
        with siege.server.connect() as deaf:
            deaf.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                deaf.sendall(WAL_READ * 100_000)

    siege.withstands("100,000 x WAL_READ pipelined, unread", attack)


def test_log_reads_of_connections_that_are_gone_are_not_done(siege: Siege) -> None:
    fill(siege)

    def attack() -> None:
        for _ in range(20):
            connection = siege.server.connect()
            connection.sendall(WAL_READ * 50)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    siege.withstands("WAL_READ pipelined and reset", attack)


def test_large_messages_leave_nothing_in_memory_once_their_connections_are_gone(
    besiege: Besiege,
) -> None:
    siege = besiege()
    part = header(16 << 20) + bytes(15 << 20)

    def attack() -> None:
        for _ in range(20):
            with siege.server.connect() as connection:
                connection.sendall(part)

    siege.withstands("15 MiB and gone, 20 times", attack, seconds=0, stall_ms=STALL_MS)


def test_a_half_open_peer_gets_the_answers_to_its_writes(siege: Siege) -> None:
    for _ in range(30):
        with siege.connect() as wire:
            request_id = wire.send("APPLY_EVENT", {"instance_id": "r", "event": "T"})
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.response(request_id)["status"] == "ok"
            assert wire.closed_by_server()


def test_an_unknown_key_of_four_megabytes_is_refused_quickly(siege: Siege) -> None:
    definition: dict[str, Any] = {"states": ["x"], "initial": "x", "transitions": []}

    def attack() -> None:
        with siege.connect() as wire:
            answer = wire.request(
                "PUT_MACHINE", machine="m", version=1, definition=definition | {"y" * (4 << 20): 1}
            )
            assert answer["error"]["code"] == "BAD_REQUEST"

    siege.withstands("a definition with a key of 4 MB", attack)


def test_definitions_far_over_the_limit_are_refused_before_they_are_read(siege: Siege) -> None:
    states = [f"{n:x}" for n in range(10_000)]
    transitions = [{"from": states, "event": f"e{n}", "to": "1"} for n in range(100)]
    lists = [list(range(10)) for _ in range(400_000)]
    large: list[dict[str, Any]] = [
        {"states": states, "initial": "0", "transitions": transitions},
        {"states": ["a"], "initial": "a", "transitions": [], "meta": {"x": lists}},
    ]

    def attack() -> None:
        with siege.connect() as wire:
            for definition in large:
                answer = wire.request("PUT_MACHINE", machine="m", version=1, definition=definition)
                assert answer["error"]["code"] == "BAD_REQUEST"

    siege.withstands("definitions of 7 and 12 MB", attack, growth_bytes=256 << 20)


def test_an_active_connection_is_not_idle(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_IDLE_TIMEOUT="1")
    with siege.connect() as wire:
        for _ in range(10):
            time.sleep(0.3)
            wire.call("PING")
