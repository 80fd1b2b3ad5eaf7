import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from rstmdb_bench import _loop
from rstmdb_bench._connect import Address, prepare
from rstmdb_bench._errors import BenchError
from rstmdb_bench._floors import echo_server
from rstmdb_bench._load import LoadSettings, run_load
from rstmdb_bench._workload import Shape, Workload
from rstmdb_protocol import (
    ErrorCode,
    HelloResult,
    Request,
    ServerConnection,
    encode_error,
    encode_ok,
)

Answer = Callable[[Request, int], bytes | None]


@contextmanager
def server(answer: Answer) -> Iterator[Address]:
    """A server that answers HELLO, and all else as told; None closes the connection.

    `answer` gets the request and the number of those before it, HELLO not counted.
    """

    def serve(client: socket.socket) -> None:
        rcp, seen = ServerConnection(), 0
        with client, suppress(ConnectionError):
            while data := client.recv(1 << 16):
                rcp.feed(data)
                for request in rcp.requests():
                    assert isinstance(request, Request)
                    if request.op == "HELLO":
                        hello = HelloResult(1, "binary_json", "fake", "0", [])
                        client.sendall(rcp.pack(encode_ok(request.id, hello)))
                        continue
                    made = answer(request, seen)
                    seen += 1
                    if made is None:
                        return
                    client.sendall(made)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield Address("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def settings(
    address: Address,
    workload: Workload = Workload.PING,
    connections: int = 2,
    in_flight: int = 3,
    processes: int = 1,
    token: str | None = None,
) -> LoadSettings:
    return LoadSettings(
        address=address,
        workload=workload,
        connections=connections,
        in_flight=in_flight,
        seconds=0.2,
        warmup_seconds=0.1,
        shape=Shape(instances=5, context_bytes=300),
        processes=processes,
        token=token,
    )


def pack(payload: bytes) -> bytes:
    return ServerConnection().pack(payload)


def ok(request: Request, _: int) -> bytes:
    return pack(encode_ok(request.id, {}))


@pytest.fixture(scope="module")
def echo() -> Iterator[Address]:
    with echo_server() as address:
        yield address


@pytest.mark.parametrize("workload", list(Workload))
def test_every_workload_runs_and_every_request_is_answered(
    echo: Address, workload: Workload
) -> None:
    result = run_load(settings(echo, workload))
    assert result.errors == result.unanswered == 0
    assert result.ok == result.latencies.count > 10
    assert 0.1 < result.seconds < 5
    assert 0 < result.latencies.max_ns < 5 * 10**9


def test_many_requests_in_flight_overrun_no_buffer(echo: Address) -> None:
    result = run_load(settings(echo, connections=3, in_flight=16_384))
    assert result.errors == result.unanswered == 0
    assert result.ok > 16_384


def test_processes_share_the_connections(echo: Address) -> None:
    result = run_load(settings(echo, connections=3, processes=2))
    assert result.errors == result.unanswered == 0
    assert result.ok == result.latencies.count > 100


def test_each_connection_keeps_exactly_its_number_of_requests_in_flight() -> None:
    held: list[bytes] = []
    lock = threading.Lock()

    def in_threes(request: Request, _: int) -> bytes:
        with lock:
            held.append(pack(encode_ok(request.id, {})))
            if len(held) < 3:
                return b""
            out = b"".join(held)
            held.clear()
            return out

    with server(in_threes) as address:  # would stall with two, mix up answers with four
        result = run_load(settings(address, connections=1, in_flight=3))
    assert result.unanswered == 0
    assert result.ok > 100


def test_errors_are_counted_and_the_first_is_told() -> None:
    def every_other(request: Request, number: int) -> bytes:
        if number % 2:
            return pack(encode_error(request.id, ErrorCode.RATE_LIMITED, f"slow down {number}"))
        return ok(request, number)

    with server(every_other) as address:
        result = run_load(settings(address))
    assert result.errors == pytest.approx(result.ok, abs=10)
    assert result.errors > 10
    assert result.first_error is not None
    assert "slow down" in result.first_error


def test_what_is_never_answered_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "DRAIN_SECONDS", 0)
    with server(lambda request, number: ok(request, number) if number < 50 else b"") as address:
        result = run_load(settings(address))
    assert result.unanswered == 6


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda _request, _number: None, "closed a connection during the run"),
        (lambda _request, _number: b"HTTP/1.1 400 Bad Request\r\n", "no RCP frame"),
        (lambda request, number: ok(request, number) * 5, "more answers than it got requests"),
    ],
    ids=["closed", "garbage", "too many"],
)
def test_a_server_that_misbehaves_ends_the_run(answer: Answer, text: str) -> None:
    with server(answer) as address, pytest.raises(BenchError, match=text):
        run_load(settings(address))


def test_a_problem_of_one_process_ends_all() -> None:
    with (
        server(lambda _request, _number: None) as address,
        pytest.raises(BenchError, match="closed a connection"),
    ):
        run_load(settings(address, processes=2))


def test_preparing_accepts_instances_that_are_there_and_nothing_else() -> None:
    def exists(request: Request, number: int) -> bytes:
        if request.op == "CREATE_INSTANCE":
            return pack(encode_error(request.id, ErrorCode.INSTANCE_EXISTS, "there"))
        return ok(request, number)

    with server(exists) as address:
        prepare(address, None, Workload.APPLY, Shape("x", 450))

    def other_machine(request: Request, _: int) -> bytes:
        return pack(encode_error(request.id, ErrorCode.MACHINE_VERSION_EXISTS, "differs"))

    with (
        server(other_machine) as address,
        pytest.raises(BenchError, match="refused PUT_MACHINE: MACHINE_VERSION_EXISTS: differs"),
    ):
        prepare(address, None, Workload.APPLY, Shape("x", 1))


def test_preparing_creates_each_instance_once_in_the_first_state() -> None:
    created: list[str] = []
    definitions: list[dict[str, object]] = []

    def remember(request: Request, number: int) -> bytes:
        if request.op == "CREATE_INSTANCE":
            created.append(request.params.instance_id)
        elif request.op == "PUT_MACHINE":
            definitions.append(json.loads(bytes(request.params.definition)))
        return ok(request, number)

    with server(remember) as address:
        prepare(address, None, Workload.APPLY, Shape("x", 450))
    assert created == [f"x-{number}" for number in range(450)]
    [definition] = definitions
    assert definition["states"] == ["s0", "s1", "s2", "s3", "s4"]


def test_a_refused_token_is_told_with_the_way_out() -> None:
    def refuse(request: Request, _: int) -> bytes:
        return pack(encode_error(request.id, ErrorCode.AUTH_FAILED, "the token is not known"))

    with server(refuse) as address, pytest.raises(BenchError, match="--token or RSTMDB_TOKEN"):
        run_load(settings(address, token="wrong"))


def test_an_unreachable_server_is_told_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = Address("127.0.0.1", listener.getsockname()[1])
    with pytest.raises(BenchError, match=f"can't reach {free}: Connection refused"):
        run_load(settings(free))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7401", Address("127.0.0.1", 7401)),
        ("localhost:1", Address("localhost", 1)),
        ("[::1]:7401", Address("::1", 7401)),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Address.parse(text)
