import json
import signal
import socket
from http.client import HTTPConnection, HTTPResponse

import anyio
import anyio.to_thread
import pytest

from rstmdb_server.http import make_app, serve_http
from rstmdb_server.metrics import Gauges, Metrics

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Readiness:
    def __init__(self) -> None:
        self.now = (True, "")

    def __call__(self) -> tuple[bool, str]:
        return self.now


class Server:
    """The application on a free port, inside a task group that the test cancels."""

    def __init__(self, bind: str = "127.0.0.1:0") -> None:
        self.bind = bind
        self.metrics = Metrics()
        self.readiness = Readiness()
        self.address = ""

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        def started(address: str) -> None:
            self.address = address
            task_status.started()

        app = make_app(self.metrics, lambda: Gauges(instances=7), self.readiness)
        await serve_http(self.bind, app, started=started)

    async def get(self, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
        def ask() -> tuple[HTTPResponse, bytes]:
            connection = HTTPConnection(self.address, timeout=10)
            try:
                connection.request(method, path)
                response = connection.getresponse()
                return response, response.read()
            finally:
                connection.close()

        return await anyio.to_thread.run_sync(ask)


async def test_metrics_and_health_are_served() -> None:
    server = Server()
    server.metrics.request_duration["PING"].observe(0.001, 3)
    async with anyio.create_task_group() as group:
        await group.start(server.run)
        response, body = await server.get("/metrics")
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b'rstmdb_requests_total{operation="PING"} 3.0\n' in body
        assert b"\nrstmdb_instances_total 7.0\n" in body
        for path in ("/health", "/healthz"):
            response, body = await server.get(path)
            assert (response.status, json.loads(body)) == (200, {"status": "ok"})
        assert (await server.get("/health", "HEAD"))[0].status == 200
        assert (await server.get("/elsewhere"))[0].status == 404
        assert (await server.get("/metrics", "POST"))[0].status == 405
        group.cancel_scope.cancel()


async def test_readiness_is_asked_each_time_and_gives_its_reason() -> None:
    server = Server()
    async with anyio.create_task_group() as group:
        await group.start(server.run)
        response, body = await server.get("/readyz")
        assert (response.status, json.loads(body)) == (200, {"status": "ready"})
        server.readiness.now = (False, "the log takes no writes")
        response, body = await server.get("/readyz")
        assert response.status == 503
        assert json.loads(body) == {"status": "not ready", "reason": "the log takes no writes"}
        group.cancel_scope.cancel()


async def test_cancelling_closes_the_port_also_under_an_idle_connection() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            await group.start(server.run)
            host, _, port = server.address.rpartition(":")
            idle = socket.create_connection((host, int(port)), 5)
            await anyio.sleep(0.05)
            group.cancel_scope.cancel()
    with idle:
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 5)


async def test_signals_are_left_to_the_server() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = Server()
    async with anyio.create_task_group() as group:
        await group.start(server.run)
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        group.cancel_scope.cancel()
    assert before == during


async def test_an_ipv6_address_is_told_in_brackets() -> None:
    server = Server("[::1]:0")
    try:
        async with anyio.create_task_group() as group:
            await group.start(server.run)
            assert server.address.startswith("[::1]:")
            assert (await server.get("/health"))[0].status == 200
            group.cancel_scope.cancel()
    except* OSError:
        pytest.skip("no IPv6 here")


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        app = make_app(Metrics(), Gauges, lambda: (True, ""))
        with pytest.raises(OSError, match="in use") as caught:
            await serve_http(bind, app, started=lambda _address: None)
    assert caught.value.filename == bind
