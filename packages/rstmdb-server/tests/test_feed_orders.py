"""Subscriptions under every order of slices, stalls, lags and drops that a seed can think of.

The hub, its sessions and the log are the real ones; only the sockets are the test's, so that it
can say when one takes bytes, and the event loop's turns, so that it can say what comes next.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from rstmdb_core import ApplyEvent
from rstmdb_protocol import WireMode
from rstmdb_server.auth import TokenSet
from rstmdb_server.committer import EventLoop
from rstmdb_server.config import Config
from rstmdb_server.hub import Hub, Job
from rstmdb_server.metrics import Metrics
from rstmdb_server.session import Session
from rstmdb_server.subscriptions import EventFilter, Subscription, _live
from rstmdb_storage import StorageOptions, Store, open_store

MACHINE = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [
        {"from": ["a", "b"], "event": "GO", "to": "b"},
        {"from": ["a", "b"], "event": "BACK", "to": "a"},
    ],
}
INSTANCES = ["i-0", "i-1", "j-0", "j-1"]


class Socket:
    """Takes what it is given while it is told to."""

    def __init__(self) -> None:
        self.peer = "test"
        self.received: list[dict[str, Any]] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.received += [json.loads(line) for line in data.splitlines()]

    def buffered(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def is_gone(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class World:
    """A hub whose turns, flushes and stalls come as the test asks for them."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.store, self.unlock = open_store(
            folder,
            StorageOptions(),
            fs=None,
            clock=lambda: time.time_ns() // 1_000_000,
            monotonic=lambda: time.monotonic_ns() // 1_000_000,
            new_id=lambda: str(uuid.uuid4()),
        )
        self.soon: list[Callable[[], None]] = []
        send, self.jobs = anyio.create_memory_object_stream[Job](float("inf"))
        config = Config()
        loop = EventLoop(self.soon.append, self.soon.append)
        self.hub = Hub(config, self.store, Metrics(), loop, send, TokenSet(config.auth))
        self._send = send
        self.sessions: list[Session] = []
        self.watched: list[tuple[Subscription, int]] = []
        for machine in ("m", "n"):
            self.store.put_machine(machine, 1, MACHINE, None)
        for name in INSTANCES:
            self.store.create_instance("m" if name[0] == "i" else "n", 1, name, {}, None)
        self.store.flush_blocking()
        for _ in range(4):
            session = Session(self.hub, Socket())
            session.connection.switch(WireMode.JSONL, ["watch_end"])
            self.hub.admit(session)
            self.sessions.append(session)

    def watch(self) -> None:
        rng = self.rng
        position = rng.choice([0, self.store.log.released, self.store.log.head])
        wanted: dict[str, Any] = {}
        match rng.randrange(4):
            case 0:
                wanted["instance_id"] = rng.choice(INSTANCES)
            case 1:
                machines = rng.choice([["m"], ["n"], ["m", "n"], ["other"]])
                wanted["event_filter"] = EventFilter(machines=machines)
            case 2:
                wanted["event_filter"] = EventFilter(events=["GO"], to_states=["b"])
            case _:
                pass
        session = rng.choice(self.sessions)
        subscription = self.hub.subscriptions.add(session, position, **wanted)
        self.watched.append((subscription, position))
        subscription.start()

    def unwatch(self) -> None:
        self.hub.subscriptions.drop(self.rng.choice(self.watched)[0])

    def write(self) -> None:
        for _ in range(self.rng.randrange(1, 6)):
            event = self.rng.choice(["GO", "BACK"])
            self.store.apply_event(self.rng.choice(INSTANCES), event, {}, None, None, None, None)

    def flush(self) -> None:
        self.store.flush_blocking()

    def stall_or_resume(self) -> None:
        session = self.rng.choice(self.sessions)
        if session.writable:
            session.pause_writing()
        else:
            session.resume_writing()

    def turn(self) -> None:
        if self.soon:
            self.soon.pop(0)()

    def close(self) -> None:
        self.hub.committer.stop()
        self.store.close()
        self.unlock()
        self._send.close()
        self.jobs.close()


def expected(store: Store, subscription: Subscription, position: int) -> list[int]:
    entries, _ = store.read_events(0, store.log.released)
    events = [(at, one) for at, one in entries if isinstance(one, ApplyEvent)]
    return [at for at, one in events if at > position and subscription.matches(one)]


async def serve_jobs(world: World, tasks: Any) -> None:
    while world.jobs.statistics().current_buffer_used:
        function, args = world.jobs.receive_nowait()
        tasks.start_soon(function, *args)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.anyio
async def test_each_watcher_gets_each_of_its_events_once_and_in_order(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(_live, "SLICE_SECS", rng.choice([0.0, 0.00002, 0.001]))
    monkeypatch.setattr(_live, "MAX_QUEUED", rng.choice([3, 20, 50_000]))
    monkeypatch.setattr(_live, "BATCH_ENTRIES", rng.choice([1, 3, 256]))
    world = World(tmp_path / "data", rng)
    try:
        async with anyio.create_task_group() as tasks:
            steps = [world.watch, world.write, world.write, world.flush, world.flush,
                     world.turn, world.turn, world.stall_or_resume]  # fmt: skip
            for number in range(300):
                rng.choice(steps)()
                if world.watched and number % 50 == 49:
                    world.unwatch()
                if rng.random() < 0.3:
                    await serve_jobs(world, tasks)
                    await anyio.lowlevel.checkpoint()
            world.flush()
            for session in world.sessions:
                if not session.writable:
                    session.resume_writing()
            with anyio.fail_after(20):
                while world.soon or any(not s.live for s in world.hub.subscriptions.all()):
                    world.turn()
                    await serve_jobs(world, tasks)
                    await anyio.sleep(0.001)
        for subscription, position in world.watched:
            socket = subscription.session.transport
            assert isinstance(socket, Socket)
            got = [
                one["wal_offset"]
                for one in socket.received
                if one["subscription_id"] == subscription.id
            ]
            wanted = expected(world.store, subscription, position)
            if subscription.closed:
                wanted = wanted[: len(got)]
            assert got == wanted, subscription.id
        assert sum(world.hub.metrics.events_forwarded.values()) == sum(
            one["type"] == "event"
            for session in world.sessions
            for one in session.transport.received  # type: ignore[attr-defined]
        )
    finally:
        world.close()
