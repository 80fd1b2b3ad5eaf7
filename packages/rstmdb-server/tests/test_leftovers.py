"""A connection that is gone leaves nothing for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from rstmdb_server.auth import TokenSet
from rstmdb_server.committer import current_event_loop
from rstmdb_server.config import Config
from rstmdb_server.hub import Hub, Job
from rstmdb_server.metrics import Metrics
from rstmdb_server.transport.callback import CallbackListener
from rstmdb_storage import StorageOptions, Store, open_store
from wire import frame

uvloop = pytest.importorskip("uvloop")

REQUESTS = b"".join(
    frame(json.dumps({"id": op, "op": op}).encode())
    for op in ("PING", "INFO", "LIST_INSTANCES", "WATCH_ALL")
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made, unlock = open_store(
        tmp_path,
        StorageOptions(),
        fs=None,
        clock=lambda: 1,
        monotonic=lambda: 1,
        new_id=lambda: str(uuid.uuid4()),
    )
    yield made
    made.close()
    unlock()


async def serve(store: Store) -> int:
    """How much garbage a hundred connections leave."""
    send, jobs = anyio.create_memory_object_stream[Job](float("inf"))
    config = Config()
    hub = Hub(config, store, Metrics(), current_event_loop(), send, TokenSet(config.auth))
    listener = await CallbackListener.start(hub, "127.0.0.1", 0, None)
    host, _, port = listener.addresses[0].rpartition(":")

    def connect(times: int) -> None:
        for number in range(times):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(REQUESTS)
                assert connection.recv(100)
                if number % 2:
                    connection.sendall(REQUESTS[:10])  # gone in the middle of a frame

    async def settle() -> None:
        while hub.sessions:  # noqa: ASYNC110 (twice, in a test)
            await asyncio.sleep(0.01)

    try:
        await asyncio.to_thread(connect, 10)
        await settle()
        gc.collect()
        gc.disable()
        await asyncio.to_thread(connect, 100)
        await settle()
        return gc.collect()
    finally:
        gc.enable()
        hub.committer.stop()
        await listener.stop()
        send.close()
        jobs.close()


def test_connections_leave_no_garbage(store: Store) -> None:
    assert uvloop.run(serve(store)) < 50  # the thread and the task of the test leave some
