"""A real server, a peer that does what a script says, and every face of the client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

import rstmdb_protocol as rcp
from rstmdb_client import Client, SyncClient, Target
from rstmdb_server.testing import ServerProcess

HURRY = 20
"""By how much the pauses before another try are shortened."""

ORDER: dict[str, Any] = {
    "states": ["created", "paid", "shipped"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
        {"from": "paid", "event": "NOTE", "to": "paid"},
    ],
}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it running."""
    folder: Path = tmp_path_factory.mktemp("server")
    env = {
        "RSTMDB_ALLOW_FLUSH_ALL": "true",
        "RSTMDB_FSYNC_POLICY": "never",
        "RSTMDB_BACKUP_DIR": str(folder / "backups"),
        "RSTMDB_COMPACT_ENABLED": "false",
        "RSTMDB_MAX_MACHINE_VERSIONS": "3",
    }
    with ServerProcess(folder, env) as process:
        yield process


@pytest.fixture
def url(server: ServerProcess) -> str:
    """The URL of a database that holds the machine `order` and the instance `o-1`."""
    address = f"rstmdb://{server.address}"
    with SyncClient.from_url(address) as db:
        db.flush_all()
        db.put_machine("order", 1, ORDER)
        db.create_instance("order", 1, instance_id="o-1", initial_ctx={"amount": 10})
    return address


class Session:
    """One connection of a client, as the peer sees it. HELLO is answered unless taken out."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._connection = rcp.ServerConnection()
        self._requests: Iterator[rcp.Request | rcp.InvalidRequest] = iter(())

    def receive(self, *, hello: bool = True) -> rcp.Request:
        """The next request. Raises EOFError when the client has gone."""
        while True:
            request = next(self._requests, None)
            if request is None:
                data = self.stream.recv(65536)
                if not data:
                    raise EOFError
                self._connection.feed(data)
                self._requests = self._connection.requests()
            elif not isinstance(request, rcp.Request):
                raise AssertionError(request)
            elif request.op == "HELLO" and hello:
                self.greet(request)
            else:
                return request

    def greet(self, request: rcp.Request, features: tuple[str, ...] = rcp.FEATURES) -> None:
        """Answer a HELLO."""
        mode, agreed = self._connection.negotiate(request.params, features)
        self._connection.switch(mode, agreed)
        self.answer(request, rcp.HelloResult(1, mode, "rstmdb", "9.9", agreed))

    def answer(self, request: rcp.Request, result: Any) -> None:
        """Answer with a result."""
        self.send(rcp.encode_ok(request.id, result))

    def refuse(self, request: rcp.Request, code: rcp.ErrorCode) -> None:
        """Answer with an error."""
        self.send(rcp.encode_error(request.id, code, "refused", {"why": "because"}))

    def send(self, payload: bytes) -> None:
        """Send a message."""
        self.stream.sendall(self._connection.pack(payload))


Script = Callable[[Session], None]


class Peer:
    """Listens, and runs one script a connection; the last one also for all that follow.

    A connection ends with its script.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._streams: list[socket.socket] = []
        self.connections = 0
        self.problems: list[BaseException] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"rstmdb://127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._streams.append(stream)
            self._start(self._play, script, stream)

    def _play(self, script: Script, stream: socket.socket) -> None:
        with stream:
            try:
                script(Session(stream))
            except (EOFError, OSError):
                pass
            except BaseException as problem:  # noqa: BLE001 (the test shows it)
                self.problems.append(problem)
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections."""
        for stream in [self._listener, *self._streams]:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()
        for thread in self._threads:
            thread.join(10)
        assert not self.problems, self.problems


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Make peers that are closed after the test."""
    made: list[Peer] = []

    def make(*scripts: Script) -> Peer:
        made.append(Peer(*scripts))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Face:
    """The async client with blocking methods, run by a loop in a thread of its own."""

    def __init__(self, portal: Any, client: Client) -> None:
        self._portal = portal
        self._client = client

    @property
    def hello(self) -> rcp.HelloResult | None:
        """See Client."""
        return self._client.hello

    def batch(self, **options: Any) -> Any:
        """See Client."""
        return self._portal.wrap_async_context_manager(self._client.batch(**options))

    def all(self, name: str, *arguments: Any, **options: Any) -> list[Any]:
        """What an iterator of the client yields."""

        async def collect() -> list[Any]:
            return [one async for one in getattr(self._client, name)(*arguments, **options)]

        result: list[Any] = self._portal.call(collect)
        return result

    def __getattr__(self, name: str) -> Any:
        """See Client."""
        method = getattr(self._client, name)

        def blocking(*arguments: Any, **options: Any) -> Any:
            async def run() -> Any:
                return await method(*arguments, **options)

            return self._portal.call(run)

        return blocking


class SyncFace(SyncClient):
    """The blocking client, with what Face has."""

    def all(self, name: str, *arguments: Any, **options: Any) -> list[Any]:
        """What an iterator of the client yields."""
        return list(getattr(self, name)(*arguments, **options))


@pytest.fixture(params=["sync", "asyncio", "trio"])
def open_db(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Open clients of one kind, closed after the test: `open_db(url, **overrides)`."""
    with contextlib.ExitStack() as stack:
        portal = None
        if request.param != "sync":
            portal = stack.enter_context(start_blocking_portal(backend=request.param))

        def open_one(url: str, **overrides: Any) -> Any:
            target = Target.parse(url, **overrides)
            if portal is None:
                return stack.enter_context(
                    SyncFace(target, sleep=lambda seconds: time.sleep(seconds / HURRY))
                )
            client = Client(target, sleep=lambda seconds: anyio.sleep(seconds / HURRY))
            stack.enter_context(portal.wrap_async_context_manager(client))
            return Face(portal, client)

        yield open_one


@pytest.fixture
def db(open_db: Callable[..., Any], url: str) -> Any:
    """A client of a database that holds the machine `order` and the instance `o-1`."""
    return open_db(url)
