"""Closed and open loops against servers that stall on purpose."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from rstmdb_bench import _load, _open_loop
from rstmdb_bench._connect import Address, Session, allow_files
from rstmdb_bench._errors import BenchError
from rstmdb_bench._floors import echo_server
from rstmdb_bench._histogram import Histogram
from rstmdb_bench._load import LoadSettings, run_load
from rstmdb_bench._loop import Connection
from rstmdb_bench._open_loop import OpenLoop
from rstmdb_bench._workload import Workload
from rstmdb_protocol import (
    HelloResult,
    Request,
    ServerConnection,
    encode_ok,
)

STALL_SECONDS = 0.5


@contextmanager
def stalling_server(
    stalls: dict[int, float], receive_bytes: int | None = None
) -> Iterator[Address]:
    """A server of one connection; before answering request N it sleeps `stalls[N]` seconds."""

    def serve() -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            with client:
                answer_all(client)

    def answer_all(client: socket.socket) -> None:
        rcp, seen = ServerConnection(), 0
        while data := client.recv(1 << 16):
            rcp.feed(data)
            for request in rcp.requests():
                assert isinstance(request, Request)
                if request.op == "HELLO":
                    hello = HelloResult(1, "binary_json", "stalling", "0", [])
                    client.sendall(rcp.pack(encode_ok(request.id, hello)))
                    continue
                time.sleep(stalls.get(seen, 0))
                seen += 1
                client.sendall(rcp.pack(encode_ok(request.id, {})))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        if receive_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        thread = threading.Thread(target=serve)
        thread.start()
        yield Address("127.0.0.1", listener.getsockname()[1])
        thread.join()


def settings(address: Address, rate: float | None, seconds: float = 1.5) -> LoadSettings:
    return LoadSettings(
        address=address,
        workload=Workload.PING,
        connections=1,
        in_flight=1,
        seconds=seconds,
        warmup_seconds=0,
        rate_per_second=rate,
    )


def later_than(latencies: Histogram, ms: float) -> int:
    """How many took longer, by bisection over the ranks."""
    low, high = 0, latencies.count
    while low < high:
        middle = (low + high + 1) // 2
        if latencies.percentile_ns(middle / latencies.count) <= ms * 1e6:
            low = middle
        else:
            high = middle - 1
    return latencies.count - low


def test_a_stall_makes_all_late_that_were_due_in_it() -> None:
    """The point of an open loop: 0.5 s of 1.5 s is a third of the requests, not one of them."""
    with stalling_server({20: STALL_SECONDS}) as address:
        result = run_load(settings(address, rate=200))
    assert result.ok == pytest.approx(300, abs=2)
    late = later_than(result.latencies, 100)
    # Those due in the first 0.4 s of the stall waited for more than 0.1 s.
    assert 70 <= late <= 200
    assert result.latencies.max_ns >= STALL_SECONDS * 0.95e9


def test_a_closed_loop_sees_a_stall_once() -> None:
    with stalling_server({20: STALL_SECONDS}) as address:
        result = run_load(settings(address, rate=None))
    assert later_than(result.latencies, 450) == 1


def test_a_server_that_cannot_keep_up_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_open_loop, "MAX_BEHIND", 100)
    with (
        stalling_server({5: 1}) as address,
        pytest.raises(BenchError, match=r"does not keep up with 2,000 a second.*lower --rate"),
    ):
        run_load(settings(address, rate=2000))


class SmallConnection(Connection):
    """Whose socket takes some dozens of requests, no more."""

    def __init__(self, session: Session) -> None:
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        super().__init__(session)


def test_requests_that_the_socket_does_not_take_are_sent_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_load, "Connection", SmallConnection)
    resumed: list[Connection] = []
    resume = OpenLoop._resume

    def remember(loop: OpenLoop, connection: Connection) -> None:
        resumed.append(connection)
        resume(loop, connection)

    monkeypatch.setattr(OpenLoop, "_resume", remember)
    with stalling_server({1: STALL_SECONDS}, receive_bytes=4096) as address:
        result = run_load(settings(address, rate=4000, seconds=0.7))
    assert resumed
    assert result.errors == result.unanswered == 0
    assert result.ok == pytest.approx(2800, rel=0.02)


def test_latencies_over_time_show_when_the_stall_was() -> None:
    with stalling_server({100: STALL_SECONDS}) as address:
        result = run_load(settings(address, rate=200))
    series = result.series()
    assert series["interval_seconds"] == 0.25
    worst = max(range(len(series["max_ms"])), key=series["max_ms"].__getitem__)
    # Request 100 is due at 0.5 s, its answer comes at 1.0 s.
    assert worst == pytest.approx(4, abs=1)
    assert series["max_ms"][0] < 250
    assert sum(series["rate_per_second"]) * 0.25 == result.ok


def test_more_connections_than_select_has_room_for() -> None:
    allow_files(4096)  # the echo inherits it
    with echo_server() as address:
        many = replace(settings(address, rate=2000, seconds=0.5), connections=1100)
        result = run_load(many)
    assert result.errors == result.unanswered == 0
    assert result.ok == pytest.approx(1000, rel=0.02)
