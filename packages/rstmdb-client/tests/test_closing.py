"""What is left behind by close, exit and cancellation: no call, no watch, no socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import rstmdb_client as client
import rstmdb_protocol as rcp
from rstmdb_client import Client, SyncClient, Target
from rstmdb_client._retry import Attempts

PONG = rcp.PingResult(True)


class Listener:
    """A server that lets in and says nothing; it knows when a client has gone again."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.url = f"rstmdb://127.0.0.1:{self._socket.getsockname()[1]}"

    def client_has_gone(self) -> bool:
        """Whether the next client sends its greeting and then closes; waits for it."""
        stream, _ = self._socket.accept()
        with stream:
            stream.settimeout(10)
            while stream.recv(65536):
                pass
        return True

    def connections(self) -> int:
        """How many clients wait to be let in."""
        self._socket.settimeout(0)
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silent() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def hold(arrived: threading.Event) -> Callable[[Any], None]:
    """Take requests, answer none."""

    def script(session: Any) -> None:
        session.receive()
        arrived.set()
        while True:
            session.receive()

    return script


@pytest.mark.anyio
async def test_cancelling_the_entry_leaves_no_connection(silent: Listener) -> None:
    with anyio.move_on_after(0.05) as scope:
        async with Client.from_url(silent.url):
            raise AssertionError("connected")
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(silent.client_has_gone)


@pytest.mark.anyio
async def test_leaving_the_block_gives_up_an_attempt_to_connect(
    peer: Callable[..., Any],
) -> None:
    def mute(session: Any) -> None:
        session.receive(hello=False)
        reconnecting.set()
        session.receive()

    reconnecting = threading.Event()
    problems: list[BaseException] = []

    async def ping(db: Client) -> None:
        try:
            await db.ping()
        except client.ConnectionLost as problem:
            problems.append(problem)

    one = peer(lambda session: session.receive(), mute)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, Client.from_url(one.url) as db:
            for _ in range(3):
                tasks.start_soon(ping, db)
            await anyio.to_thread.run_sync(reconnecting.wait)
    assert len(problems) == 3
    assert "the client was closed" in [str(problem) for problem in problems]
    assert one.connections == 2


@pytest.mark.parametrize(
    ("idempotency", "problem"),
    [("auto", client.ConnectionLost), ("off", client.OutcomeUnknown)],
)
def test_close_from_another_thread_ends_a_call(
    open_db: Callable[..., Any],
    peer: Callable[..., Any],
    idempotency: str,
    problem: type[client.ConnectionLost],
) -> None:
    arrived = threading.Event()
    one = peer(hold(arrived))
    db = open_db(one.url, idempotency=idempotency)

    def close() -> None:
        arrived.wait()
        db.close()

    thread = threading.Thread(target=close)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(client.ConnectionLost) as caught:
        db.apply_event("i", "GO")
    assert type(caught.value) is problem
    assert time.monotonic() - begin < 5
    thread.join()
    assert one.connections == 1


def test_a_request_that_did_not_leave_as_a_whole_is_sent_again_without_a_key(
    peer: Callable[..., Any],
) -> None:
    def go_at_once(session: Any) -> None:
        session.greet(session.receive(hello=False))

    def serve(session: Any) -> None:
        while True:
            session.answer(session.receive(), rcp.ApplyEventResult("a", "b", {}, 7, True))

    one = peer(go_at_once, serve)
    with SyncClient.from_url(one.url, idempotency="off") as db:
        while not db._pipe or not db._pipe.has_ended():
            time.sleep(0.001)
        assert db.apply_event("i", "GO").applied
    assert one.connections == 2


def test_a_server_that_takes_no_bytes_is_a_timeout_and_not_used_again(
    peer: Callable[..., Any],
) -> None:
    done = threading.Event()

    def greet_and_stop_reading(session: Any) -> None:
        session.greet(session.receive(hello=False), ())
        done.wait()

    def serve(session: Any) -> None:
        while True:
            session.answer(session.receive(), PONG)

    one = peer(greet_and_stop_reading, serve)
    with SyncClient.from_url(one.url, request_timeout=0.2) as db:
        with pytest.raises(client.RequestTimeout):
            db.apply_event("i", "GO", {"pad": "x" * (15 << 20)})
        assert db.ping() == PONG
    done.set()
    assert one.connections == 2


@pytest.mark.anyio
async def test_calls_that_wait_for_a_connection_share_its_failure(silent: Listener) -> None:
    async def ping(db: Client) -> None:
        with pytest.raises(client.ConnectFailed, match=r"no answer within 0.3 s"):
            await db.ping()

    target = Target.parse(silent.url, connect_timeout=0.3, retry_timeout=0)
    db = Client(target)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            db._tasks = tasks  # as if entered, and then broken
            for _ in range(200):
                tasks.start_soon(ping, db)
    assert silent.connections() == 1


def test_threads_that_wait_for_a_connection_share_its_failure(silent: Listener) -> None:
    db = SyncClient.from_url(silent.url, connect_timeout=0.3, retry_timeout=0)
    problems: list[BaseException] = []

    def ping() -> None:
        try:
            db.ping()
        except client.ConnectFailed as problem:
            problems.append(problem)

    threads = [threading.Thread(target=ping) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(problems) == 20
    assert silent.connections() == 1


def test_an_attempt_that_ends_well_clears_the_failure_before_it() -> None:
    attempts = Attempts(lambda: 50.0)

    def fail() -> None:
        with attempts.attempt(40.0):
            raise client.ConnectFailed("no")

    with pytest.raises(client.ConnectFailed):
        fail()
    with pytest.raises(client.ConnectFailed, match="no"), attempts.attempt(50.01):
        raise AssertionError("tried")
    with attempts.attempt(50.1):
        pass
    with attempts.attempt(40.0):
        pass


def begin_and_go(session: Any) -> None:
    session.answer(session.receive(), rcp.WatchAllResult("s", 10))


def test_leaving_the_block_ends_a_watch_that_is_connecting_again(
    peer: Callable[..., Any],
) -> None:
    def mute(session: Any) -> None:
        session.receive(hello=False)
        reconnecting.set()
        session.receive()

    reconnecting = threading.Event()
    ended = threading.Event()

    def read(watch: client.SyncWatch) -> None:
        assert list(watch) == []
        ended.set()

    def serve(session: Any) -> None:
        session.receive()

    one = peer(serve, begin_and_go, mute)
    with SyncClient.from_url(one.url, connect_timeout=0.5) as db:
        watch = db.watch_all()
        thread = threading.Thread(target=read, args=[watch])
        thread.start()
        assert reconnecting.wait(5)
    thread.join(5)
    assert ended.is_set()


@pytest.mark.anyio
async def test_leaving_the_block_ends_an_async_watch_that_is_connecting_again(
    peer: Callable[..., Any],
) -> None:
    def mute(session: Any) -> None:
        session.receive(hello=False)
        reconnecting.set()
        session.receive()

    reconnecting = threading.Event()
    ended: list[bool] = []

    async def read(watch: client.AsyncWatch) -> None:
        ended.append([event async for event in watch] == [])

    one = peer(lambda session: session.receive(), begin_and_go, mute)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, Client.from_url(one.url) as db:
            tasks.start_soon(read, db.watch_all())
            await anyio.to_thread.run_sync(reconnecting.wait)
    assert ended == [True]


@pytest.mark.anyio
async def test_a_watch_that_is_cancelled_anywhere_goes_on_and_loses_nothing(
    peer: Callable[..., Any],
) -> None:
    def events(session: Any) -> None:
        request = session.receive()
        session.answer(request, rcp.WatchAllResult("s", 10))
        begin = request.params.from_offset or 11
        for offset in range(begin, begin + 5):
            message = rcp.EventMessage("s", "i", "m", 1, offset, "a", "b", "GO")
            data = session._connection.pack(rcp.encode_json(message))
            session.stream.sendall(data[:20])
            time.sleep(0.004)
            session.stream.sendall(data[20:])

    one = peer(lambda session: session.receive(), events)
    seen: list[int] = []
    target = Target.parse(one.url)
    async with Client(target, sleep=lambda _: anyio.sleep(0.001)) as db:
        watch = db.watch_all(from_offset=11)
        for turn in range(4000):
            with anyio.move_on_after(0.001 * (turn % 17)):
                seen.append((await anext(watch)).wal_offset)
            if len(seen) == 40:
                break
    assert seen == list(range(11, 51))


@pytest.mark.anyio
async def test_an_error_that_answers_hello_is_raised_and_the_connection_closed(
    peer: Callable[..., Any],
) -> None:
    def refuse(session: Any) -> None:
        session.refuse(session.receive(hello=False), rcp.ErrorCode.UNSUPPORTED_PROTOCOL)
        with pytest.raises(EOFError):
            session.receive()
        gone.release()

    gone = threading.Semaphore(0)
    one = peer(refuse)
    with pytest.raises(client.UnsupportedProtocolError):
        async with Client.from_url(one.url):
            raise AssertionError("connected")
    with pytest.raises(client.UnsupportedProtocolError):
        SyncClient.from_url(one.url).connect()
    assert [gone.acquire(timeout=5) for _ in range(2)] == [True, True]


def test_the_retry_time_is_kept_while_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"rstmdb://127.0.0.1:{nobody.getsockname()[1]}"
    begin = time.monotonic()
    with pytest.raises(client.ConnectFailed):
        SyncClient.from_url(dead, retry_timeout=0.4).ping()
    assert 0.4 <= time.monotonic() - begin < 3
