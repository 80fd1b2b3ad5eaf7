"""Too much at once: requests, connections, bytes; the others are served as before."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bystander import RING
from wire import Wire, frame

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

GET = frame(b'{"id":"1","op":"GET_INSTANCE","params":{"instance_id":"r"}}')
PING = frame(b'{"id":"1","op":"PING"}')
APPLY = frame(b'{"id":"1","op":"APPLY_EVENT","params":{"instance_id":"r","event":"T"}}')
LIST = frame(b'{"id":"1","op":"LIST_INSTANCES","params":{"limit":10000}}')
STATS = frame(b'{"id":"1","op":"WAL_STATS"}')


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN: whatever is under way is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    ("name", "request_"),
    [("GET_INSTANCE", GET), ("APPLY_EVENT", APPLY), ("WAL_STATS", STATS)],
    ids=["reads", "writes", "statistics"],
)
def test_a_hundred_thousand_pipelined_requests_unread_starve_nobody(
    siege: Siege, name: str, request_: bytes
) -> None:
    """The server stops to read once nobody takes its answers; the sender stands still."""

    def attack() -> None:
        with siege.server.connect() as deaf:
            deaf.settimeout(0.3)
            with contextlib.suppress(TimeoutError):  # what the kernel's buffers hold is sent
                deaf.sendall(request_ * 100_000)

    siege.withstands(f"100,000 x {name} pipelined, unread", attack)


def test_a_reconnect_storm_is_nothing_to_the_others(siege: Siege) -> None:
    def attack() -> None:
        for turn in range(100):
            connection = siege.server.connect()
            connection.sendall((PING, b"RC", GET + PING, b"")[turn % 4])
            if turn % 3:
                connection.close()
            else:
                reset(connection)

    siege.withstands("reconnect storm", attack, seconds=1.0)


def test_resets_in_the_middle_of_answers_do_no_harm(siege: Siege) -> None:
    def attack() -> None:
        for _ in range(50):
            connection = siege.server.connect()
            connection.sendall((APPLY + LIST + STATS) * 20)
            reset(connection)

    siege.withstands("resets in the middle of answers", attack)


def test_the_largest_messages_from_many_connections_are_refused_within_bounds(
    siege: Siege,
) -> None:
    """Eight connections with almost 16 MiB each, all but the last bytes of it."""
    payload = json.dumps({"id": "1", "op": "PING", "params": {"x": "y" * (15 << 20)}}).encode()
    whole = frame(payload)

    def attack() -> None:
        with ExitStack() as held:
            for _ in range(8):
                held.enter_context(siege.server.connect()).sendall(whole[:-10])

    siege.withstands("8 x 15 MiB, unfinished", attack, seconds=0, growth_bytes=256 << 20,
                     stall_ms=50)  # fmt: skip


def test_one_connection_over_the_limit_is_told_so_however_often_it_tries(
    besiege: Besiege,
) -> None:
    siege = besiege(RSTMDB_MAX_CONNECTIONS="10")

    def attack() -> None:
        for _ in range(100):
            with siege.connect(hello=False) as over:
                answer = over.response(over.send("APPLY_EVENT", {"instance_id": "x"}))
                assert answer["error"]["code"] == "RATE_LIMITED"
                assert answer["error"]["retryable"] is True
                assert over.closed_by_server()

    with ExitStack() as stack:
        kept = [stack.enter_context(siege.connect()) for _ in range(9)]
        siege.withstands("one connection over the limit", attack)
        assert all(wire.call("PING") == {"pong": True} for wire in kept)


def test_connections_over_the_limit_that_say_nothing_are_closed_too(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_MAX_CONNECTIONS="10", RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS="1")
    with ExitStack() as stack:
        kept = [stack.enter_context(siege.connect()) for _ in range(9)]

        def attack() -> None:
            silent = [stack.enter_context(siege.server.connect()) for _ in range(50)]
            for connection in silent:
                assert connection.recv(1) == b""

        siege.withstands("silent connections over the limit", attack)
        assert all(wire.call("PING") == {"pong": True} for wire in kept)


def idle_connections(besiege: Besiege, count: int) -> None:
    """Open connections that said HELLO and nothing since; all of them still live at the end."""
    siege = besiege(RSTMDB_MAX_CONNECTIONS=str(count + 100))
    hello = frame(b'{"id":"1","op":"HELLO","params":{"protocol_version":1}}')
    with ExitStack() as stack:
        idle: list[socket.socket] = []

        def attack() -> None:
            for _ in range(count):
                connection = stack.enter_context(siege.server.connect())
                connection.sendall(hello)
                assert connection.recv(4096)
                idle.append(connection)

        # 2 KiB a session would be 20 MiB; what the kernel holds is not the process's.
        siege.withstands(f"{count:,} connections opened", attack, seconds=0, tries=1,
                         growth_bytes=count * 16_384 + (16 << 20))  # fmt: skip
        siege.withstands(f"{count:,} connections idle", lambda: time.sleep(1), seconds=3)
        with siege.connect() as wire:
            assert wire.call("INFO")["connections"] >= count
        for connection in idle[:: max(1, count // 100)]:
            connection.sendall(PING)
            assert connection.recv(4096)


def test_many_idle_connections_cost_the_others_nothing(besiege: Besiege) -> None:
    idle_connections(besiege, 500)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_idle_connections(besiege: Besiege) -> None:
    idle_connections(besiege, 9_990)


def test_requests_over_the_rate_are_refused_and_the_connection_stays(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_LIMIT_REQUESTS_PER_SECOND="5000")

    def attack() -> None:
        with siege.connect() as wire:
            wire.socket.sendall(PING * 20_000)
            answers = [wire.receive() for _ in range(20_000)]
            refused = [a for a in answers if a["status"] == "error"]
            assert 5_000 < len(refused) < 20_000
            assert {a["error"]["code"] for a in refused} == {"RATE_LIMITED"}
            time.sleep(0.1)
            assert wire.call("PING") == {"pong": True}

    siege.withstands("requests over the rate", attack)


def test_buffers_of_all_connections_together_are_bounded(besiege: Besiege) -> None:
    """Fifty deaf clients want a megabyte again and again: the server holds what it may, no more."""
    siege = besiege(RSTMDB_LIMIT_MAX_BUFFERED_BYTES=str(16 << 20))
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r",
                  initial_ctx={"text": "x" * 900_000})  # fmt: skip

    def attack() -> None:
        with ExitStack() as stack:
            for _ in range(50):
                deaf = stack.enter_context(siege.server.connect())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.sendall(GET * 40)
            time.sleep(1.5)  # the limit is looked at once a second

    siege.withstands("50 deaf clients want 36 MB each", attack, growth_bytes=128 << 20)


def test_a_batch_of_the_most_expensive_ops_is_one_request_like_any_other(siege: Siege) -> None:
    ops = [{"op": "LIST_INSTANCES", "params": {"limit": 10_000}}] * 100

    def attack() -> None:
        with Wire(siege.server.host, siege.server.port) as wire:
            assert len(wire.call("BATCH", ops=ops)["results"]) == 100

    siege.withstands("BATCH of 100 lists", attack)
