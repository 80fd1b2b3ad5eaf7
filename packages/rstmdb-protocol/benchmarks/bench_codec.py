"""Frames and requests: what each costs on its way in and out. `nox -s micro`."""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rstmdb_protocol import (
    ApplyEventResult,
    ClientConnection,
    Request,
    ResponseMeta,
    ServerConnection,
    decode_request,
    encode_frame,
    encode_ok,
)

PARAMS = {"instance_id": "order-123456", "event": "NEXT", "payload": {"step": 7, "who": "load"}}
CTX = {"customer": "c-123456", "amount": 100, "step": 7, "who": "load"}
RESULT = ApplyEventResult("s0", "s1", CTX, 1 << 40, True)
META = ResponseMeta(wal_offset=1 << 40, server_time="2026-01-01T00:00:00.000Z")
FRAMES = 256


def request_payloads() -> list[bytes]:
    client = ClientConnection()
    return [client.request("APPLY_EVENT", PARAMS)[1][18:] for _ in range(FRAMES)]


def test_a_frame_is_encoded(benchmark: BenchmarkFixture) -> None:
    payload = request_payloads()[0]
    assert benchmark(encode_frame, payload).endswith(payload)


def test_a_request_is_decoded(benchmark: BenchmarkFixture) -> None:
    payload = request_payloads()[0]
    assert benchmark(decode_request, payload).op == "APPLY_EVENT"


def test_a_result_is_encoded(benchmark: BenchmarkFixture) -> None:
    assert b'"to_state":"s1"' in benchmark(encode_ok, "7", RESULT, META)


@pytest.mark.parametrize("piece", [1 << 16, 256], ids=["at once", "in pieces"])
def test_256_frames_become_requests(benchmark: BenchmarkFixture, piece: int) -> None:
    stream = b"".join(encode_frame(payload) for payload in request_payloads())
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]

    def receive() -> int:
        connection = ServerConnection()
        count = 0
        for data in pieces:
            connection.feed(data)
            count += sum(isinstance(request, Request) for request in connection.requests())
        return count

    assert benchmark(receive) == FRAMES


def test_256_requests_are_encoded_by_a_client(benchmark: BenchmarkFixture) -> None:
    def send() -> int:
        client = ClientConnection()
        return sum(len(client.request("APPLY_EVENT", PARAMS)[1]) for _ in range(FRAMES))

    assert benchmark(send) > FRAMES * 100


def test_256_answers_are_decoded_by_a_client(benchmark: BenchmarkFixture) -> None:
    stream = b"".join(encode_frame(encode_ok(str(n), RESULT, META)) for n in range(FRAMES))
    receive: Callable[[], int] = lambda: _received(stream)  # noqa: E731 (what is timed is one call)
    assert benchmark(receive) == FRAMES


def _received(stream: bytes) -> int:
    client = ClientConnection()
    client.feed(stream)
    return sum(1 for _ in client.messages())
