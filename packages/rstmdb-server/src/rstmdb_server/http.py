"""Metrics and health over HTTP, inside the server's own event loop.

Imported only where metrics are enabled: what it needs takes 100 ms to import.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .config import split_address
from .metrics import Gauges, Metrics
from .metrics.prometheus import CONTENT_TYPE, make_exporter

__all__ = ["make_app", "serve_http"]

MAX_CONNECTIONS = 100
STOP_DEADLINE_SECS = 1.0


def make_app(
    metrics: Metrics,
    gauges: Callable[[], Gauges],
    readiness: Callable[[], tuple[bool, str]],
) -> Starlette:
    """/metrics, /health and /healthz (the process answers), /readyz (200, or 503 and why not).

    Both callables run on the event loop's thread at each request that needs them; the
    reason that `readiness` gives is told only when it is not ready.
    """
    export = make_exporter(metrics, gauges)

    async def show_metrics(_request: Request) -> Response:
        return Response(export(), headers={"content-type": CONTENT_TYPE})

    async def show_health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def show_readiness(_request: Request) -> Response:
        ready, reason = readiness()
        if ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/health", show_health),
            Route("/healthz", show_health),
            Route("/readyz", show_readiness),
        ]
    )


async def serve_http(bind: str, app: Starlette, *, started: Callable[[str], None]) -> None:
    """Serve `app` on `bind` (host:port) until cancelled; runs on asyncio only.

    `started` is called with the address as host:port once connections are taken. Raises
    OSError, with `bind` as its filename, where the address can't be listened on.
    """
    listener = _listen(bind)
    with listener:
        host, port = listener.getsockname()[:2]
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=int(STOP_DEADLINE_SECS),
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        server = _Server(config, lambda: started(address))
        try:
            await server.serve(sockets=[listener])
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(STOP_DEADLINE_SECS + 1, shield=True):
                await server.shutdown(sockets=[listener])
            raise


def _listen(bind: str) -> socket.socket:
    try:
        # The resolver may block; it is asked once, while the server starts.
        family, kind, protocol, _, address = socket.getaddrinfo(
            *split_address(bind), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        error.filename = bind
        raise
    return listener


class _Server(uvicorn.Server):
    """Leaves signals to the database server, and tells when it takes connections."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """No handlers: SIGTERM is for the whole process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell it."""
        await super().startup(sockets)
        self._tell()
