"""Connections that are cut at any byte, in either direction: writes and events come once each.

A proxy between client and server passes pieces of random size on, and breaks connections off
in the middle of frames. RSTMDB_TEST_SEED replays its draws, RSTMDB_TEST_SCALE
multiplies the long form.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from rstmdb_client import Client, ConnectionLost, SyncClient

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
SCALE = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
WRITERS = 4
MEAN_BYTES = 12_000
"""How much a connection carries in one direction, on average, before it is cut."""

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with which `close` resets a connection."""

COUNTER: dict[str, Any] = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "COUNT", "to": "on"}],
}


class Proxy:
    """Passes bytes on, until it has had enough of a connection."""

    def __init__(self, port: int) -> None:
        self._upstream = ("127.0.0.1", port)
        self._rng = random.Random(SEED)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.cuts = 0
        self.url = f"rstmdb://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for stream in (client, server):
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # The first one of the watch, then that of the client, are opened without retries.
                least = 3000 if len(self._open) < 4 else 1
                self._open |= {client, server}
                self._start(self._pass_on, client, server, least)
                self._start(self._pass_on, server, client, least)

    def _pass_on(self, source: socket.socket, target: socket.socket, least: int) -> None:
        left = least + int(self._rng.expovariate(1 / MEAN_BYTES))
        with contextlib.suppress(OSError):
            while left > 0:
                data = source.recv(min(left, self._rng.randrange(1, 2000)))
                if not data:
                    break
                target.sendall(data)
                left -= len(data)
            if left == 0:
                self.cuts += 1
                if self._rng.random() < 0.5:  # else with a proper end
                    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        for stream in (source, target):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        target.close()

    def close(self) -> None:
        """End everything."""
        for stream in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()
        for thread in self._threads:
            thread.join(10)


def write_blocking(url: str, writes: int) -> None:
    with SyncClient.from_url(url, retry_timeout=60) as db:

        def write(name: str) -> None:
            for number in range(writes):
                while True:  # the client gives up after a few breaks in a row; the key stays
                    with contextlib.suppress(ConnectionLost):
                        key = f"k-{number}"
                        db.apply_event(name, "COUNT", {"n": number}, idempotency_key=key)
                        break

        threads = [threading.Thread(target=write, args=[f"c-{n}"]) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def write_async(url: str, writes: int) -> None:
    async def write(db: Client, name: str) -> None:
        for number in range(writes):
            while True:
                with contextlib.suppress(ConnectionLost):
                    await db.apply_event(
                        name, "COUNT", {"n": number}, idempotency_key=f"k-{number}"
                    )
                    break

    async def main() -> None:
        async with (
            Client.from_url(url, retry_timeout=60) as db,
            anyio.create_task_group() as tasks,
        ):
            for number in range(WRITERS):
                tasks.start_soon(write, db, f"c-{number}")

    anyio.run(main)


def watch_blocking(
    url: str, begin: int, seen: list[int], count: int, begun: threading.Event
) -> None:
    with SyncClient.from_url(url).watch_all(from_offset=begin) as watch:
        begun.set()
        while len(seen) < count:
            seen.append(next(watch).wal_offset)


def watch_async(url: str, begin: int, seen: list[int], count: int, begun: threading.Event) -> None:
    async def main() -> None:
        async with Client.from_url(url).watch_all(from_offset=begin) as watch:
            begun.set()
            while len(seen) < count:
                seen.append((await anext(watch)).wal_offset)

    anyio.run(main)


def cut_while_writing(
    url: str, write: Callable[..., None], watch: Callable[..., None], writes: int
) -> None:
    print(f"seed {SEED}")
    total = WRITERS * writes
    seen: list[int] = []
    proxy = Proxy(int(url.rpartition(":")[2]))
    try:
        with SyncClient.from_url(url) as db:
            db.put_machine("counter", 1, COUNTER)
            for number in range(WRITERS):
                created = db.create_instance("counter", 1, instance_id=f"c-{number}")
            begun = threading.Event()
            watcher = threading.Thread(
                target=watch, args=[proxy.url, created.wal_offset, seen, total, begun], daemon=True
            )
            watcher.start()
            assert begun.wait(20)
            write(proxy.url, writes)
            watcher.join(600)
            assert not watcher.is_alive()
            records = list(db.wal_records(created.wal_offset))
    finally:
        proxy.close()
    log = [record for record in records if record.entry["type"] == "apply_event"]
    print(f"{proxy.cuts} cuts, {total} writes")
    assert proxy.cuts >= 10
    assert seen == [record.offset for record in log]
    for number in range(WRITERS):
        name = f"c-{number}"
        applied = [r.entry["payload"]["n"] for r in log if r.entry["instance_id"] == name]
        assert applied == list(range(writes))


BOTH = pytest.mark.parametrize(
    ("write", "watch"),
    [(write_blocking, watch_async), (write_async, watch_blocking)],
    ids=["blocking", "async"],
)


@BOTH
def test_cuts_double_no_write_and_lose_no_event(
    url: str, write: Callable[..., None], watch: Callable[..., None]
) -> None:
    cut_while_writing(url, write, watch, writes=100)


@pytest.mark.slow
@BOTH
def test_many_cuts_double_no_write_and_lose_no_event(
    url: str, write: Callable[..., None], watch: Callable[..., None]
) -> None:
    cut_while_writing(url, write, watch, writes=1000 * SCALE)
