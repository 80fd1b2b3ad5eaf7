"""A session without its socket: from received bytes to bytes to send. `nox -s micro`.

What a request costs beyond this is the event loop's and the kernel's.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rstmdb_protocol import ServerConnection, encode_frame
from rstmdb_server.auth import TokenSet
from rstmdb_server.committer import EventLoop
from rstmdb_server.config import Config
from rstmdb_server.hub import Hub, Job
from rstmdb_server.metrics import Metrics
from rstmdb_server.session import Session
from rstmdb_storage import StorageOptions, open_store

RING = {
    "states": ["s0"],
    "initial": "s0",
    "transitions": [{"from": "s0", "event": "NEXT", "to": "s0"}],
}
INSTANCES = 1000
REQUESTS = {
    "ping": b'{"type":"request","id":"%d","op":"PING","params":{}}',
    "get": b'{"type":"request","id":"%d","op":"GET_INSTANCE","params":{"instance_id":"i-%d"}}',
}


Receive = Callable[[bytes], int]
"""Handle received bytes; how many bytes have been sent since the beginning."""


class Sink:
    """A transport that only counts."""

    peer = "benchmark"

    def __init__(self) -> None:
        self.sent = 0

    def write(self, data: bytes) -> None:
        self.sent += len(data)

    def buffered(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing reads."""

    def resume_reading(self) -> None:
        """As above."""

    def is_gone(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """As above."""


@contextmanager
def a_session(instances: int) -> Iterator[Receive]:
    """A session of a server with so many instances."""
    store, unlock = open_store(
        ":memory:",
        StorageOptions(),
        fs=None,
        clock=lambda: 1,
        monotonic=lambda: 1,
        new_id=lambda: str(uuid.uuid4()),
    )
    store.put_machine("load", 1, RING)
    for number in range(instances):
        ctx = {"customer": f"c-{number}", "amount": 100}
        store.create_instance("load", 1, f"i-{number}", ctx)
        if not number % 1000:
            store.flush_blocking()
    store.flush_blocking()
    soon: list[Callable[[], None]] = []
    config = Config()
    send, jobs = anyio.create_memory_object_stream[Job](float("inf"))
    loop = EventLoop(soon.append, soon.append)
    with send, jobs:
        hub = Hub(config, store, Metrics(), loop, send, TokenSet(config.auth))
        sink = Sink()
        session = Session(hub, sink)
        hub.admit(session)

        def handle(data: bytes) -> int:
            session.receive(data)
            while soon:  # a turn that was over before all was handled
                soon.pop()()
            return sink.sent

        yield handle
        hub.committer.stop()
    store.close()
    unlock()


@pytest.fixture
def receive() -> Iterator[Receive]:
    with a_session(INSTANCES) as handle:
        yield handle


def chunk(op: str, count: int) -> bytes:
    """So many requests as they arrive at once."""
    text = REQUESTS[op]
    wanted = text.count(b"%d")
    return b"".join(encode_frame(text % (n, n * 7 % INSTANCES)[:wanted]) for n in range(count))


@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("op", sorted(REQUESTS))
def test_requests_are_answered(
    benchmark: BenchmarkFixture, receive: Receive, op: str, count: int
) -> None:
    data = chunk(op, count)
    sent = benchmark(receive, data)
    assert receive(data) - sent > 50 * count


@pytest.mark.timeout(300)
@pytest.mark.parametrize("instances", [1_000, 1_000_000])
def test_16_instances_anywhere_are_read(benchmark: BenchmarkFixture, instances: int) -> None:
    """What is far apart in memory is not in the processor's caches: the price of a million."""
    rng = random.Random(1)
    text = REQUESTS["get"]
    chunks = [
        b"".join(encode_frame(text % (n, rng.randrange(instances))) for n in range(16))
        for _ in range(20_000)
    ]
    with a_session(instances) as receive:
        turn = cycle(chunks)
        assert benchmark(lambda: receive(next(turn))) > 0


@pytest.mark.parametrize("op", sorted(REQUESTS))
def test_16_requests_are_only_read(benchmark: BenchmarkFixture, op: str) -> None:
    connection = ServerConnection()
    data = chunk(op, 16)

    def receive() -> int:
        connection.feed(data)
        return sum(1 for _ in connection.requests())

    assert benchmark(receive) == 16
