"""A server that is killed again and again: each write done once, each event seen once.

The short form runs by default; RSTMDB_TEST_SEED replays the moments of the kills.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from rstmdb_client import Client, SyncClient
from rstmdb_server.testing import ServerProcess

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
WRITERS = 4
COUNTER: dict[str, Any] = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "COUNT", "to": "on"}],
}

Done = dict[str, list[int]]
"""The offset that was acknowledged for each write, by instance."""


def write_blocking(url: str, writes: int, done: Done, progress: Callable[[], None]) -> None:
    """Threads with a client each, and two that share one."""

    def write(db: SyncClient, name: str) -> None:
        db.create_instance("counter", 1, instance_id=name)
        done[name] = []
        for number in range(writes):
            done[name].append(db.apply_event(name, "COUNT", {"n": number}).wal_offset)
            progress()

    clients = [SyncClient.from_url(url) for _ in range(WRITERS - 1)]
    clients.append(clients[0])
    threads = [
        threading.Thread(target=write, args=[db, f"c-{number}"])
        for number, db in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for db in clients:
        db.close()


def write_async(url: str, writes: int, done: Done, progress: Callable[[], None]) -> None:
    """Tasks that share one client."""

    async def write(db: Client, name: str) -> None:
        await db.create_instance("counter", 1, instance_id=name)
        done[name] = []
        for number in range(writes):
            answer = await db.apply_event(name, "COUNT", {"n": number})
            done[name].append(answer.wal_offset)
            progress()

    async def main() -> None:
        async with Client.from_url(url) as db, anyio.create_task_group() as tasks:
            for number in range(WRITERS):
                tasks.start_soon(write, db, f"c-{number}")

    anyio.run(main)


def watch_blocking(url: str, seen: list[int], count: int) -> None:
    with SyncClient.from_url(url) as db, db.watch_all(from_offset=0) as watch:
        while len(seen) < count:
            seen.append(next(watch).wal_offset)


def watch_async(url: str, seen: list[int], count: int) -> None:
    async def main() -> None:
        async with Client.from_url(url) as db, db.watch_all(from_offset=0) as watch:
            while len(seen) < count:
                seen.append((await anext(watch)).wal_offset)

    anyio.run(main)


def kill_while_writing(
    folder: Path, write: Callable[..., None], watch: Callable[..., None], kills: int, writes: int
) -> None:
    """Kill at moments spread over the writes, and compare with the log."""
    total = WRITERS * writes
    rng = random.Random(SEED)
    moments = sorted(rng.sample(range(1, total - 1), kills))
    print(f"seed {SEED}, kills after {moments} writes")
    done: Done = {}
    seen: list[int] = []
    count = 0
    lock = threading.Lock()

    def progress() -> None:
        nonlocal count
        with lock:
            count += 1

    server = ServerProcess(folder, {"RSTMDB_COMPACT_ENABLED": "false"})
    with server:
        url = f"rstmdb://{server.address}"
        with SyncClient.from_url(url) as db:
            db.put_machine("counter", 1, COUNTER)
        threads = [
            threading.Thread(target=write, args=[url, writes, done, progress], daemon=True),
            threading.Thread(target=watch, args=[url, seen, total], daemon=True),
        ]
        for thread in threads:
            thread.start()
        for moment in moments:
            while count < moment and threads[0].is_alive():
                time.sleep(0.0005)
            server.kill()
            server.start()
        for thread in threads:
            thread.join(600)
            assert not thread.is_alive()
        with SyncClient.from_url(url) as db:
            log = [
                (record.offset, record.entry)
                for record in db.wal_records()
                if record.entry["type"] == "apply_event"
            ]
    assert seen == [offset for offset, _ in log]
    for name, offsets in done.items():
        applied = [(at, entry["payload"]["n"]) for at, entry in log if entry["instance_id"] == name]
        assert applied == list(zip(offsets, range(writes), strict=True)), name
    assert len(done) == WRITERS
    print(f"{kills} kills, {total} writes, each applied once; {len(seen)} events, each seen once")


BOTH = pytest.mark.parametrize(
    ("write", "watch"),
    [(write_blocking, watch_async), (write_async, watch_blocking)],
    ids=["blocking", "async"],
)


@BOTH
def test_a_few_kills_double_no_write_and_lose_no_event(
    tmp_path: Path, write: Callable[..., None], watch: Callable[..., None]
) -> None:
    kill_while_writing(tmp_path, write, watch, kills=3, writes=60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@BOTH
def test_many_kills_double_no_write_and_lose_no_event(
    tmp_path: Path, write: Callable[..., None], watch: Callable[..., None]
) -> None:
    kill_while_writing(tmp_path, write, watch, kills=20, writes=2500)
