"""Idle connections, watchers and writers all at once: nothing lost, watchers' logs complete."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bystander import RING
from crowd import Crowd

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

WRITERS = 8


def write(siege: Siege, name: str, count: int, into: list[tuple[int, int]]) -> None:
    """Apply numbered events to an instance of the writer's own, one after another."""
    with siege.connect() as wire:
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id=name)
        for number in range(count):
            done = wire.call("APPLY_EVENT", instance_id=name, event="T", payload={"n": number})
            into.append((done["wal_offset"], number))


def crowd(besiege: Besiege, folder: Path, *, idle: int, watchers: int, events: int) -> None:
    siege = besiege(
        RSTMDB_MAX_CONNECTIONS=str(idle + watchers + 100), RSTMDB_COMPACT_ENABLED="false"
    )
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
    acknowledged: list[list[tuple[int, int]]] = [[] for _ in range(WRITERS)]

    def attack() -> None:
        began = time.monotonic()
        threads = [
            threading.Thread(target=write, args=(siege, f"w-{n}", events // WRITERS, into))
            for n, into in enumerate(acknowledged)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rates.append(sum(map(len, acknowledged)) / (time.monotonic() - began))

    rates: list[float] = []
    host, port = siege.server.host, siege.server.port
    with Crowd(host, port, idle=idle, watchers=watchers) as people:
        siege.withstands(
            f"{idle:,} idle, {watchers:,} watchers, {WRITERS} writers, {events:,} events",
            attack, seconds=0, tries=1, growth_bytes=256 << 20,
        )  # fmt: skip
        offsets = sorted(offset for into in acknowledged for offset, _ in into)
        found = people.check(folder, offsets)
    print(
        f"\n{idle:,} idle connections, {watchers:,} watchers, {WRITERS} writers: "
        f"{rates[0]:,.0f} writes/s, {found.deliveries / found.seconds:,.0f} deliveries/s"
    )
    assert all(len(into) == events // WRITERS for into in acknowledged)
    assert not found.wrong, found
    assert found.deliveries == len(offsets) * watchers
    assert found.idle_alive == idle
    with siege.connect() as wire:
        for number, into in enumerate(acknowledged):
            instance = wire.call("GET_INSTANCE", instance_id=f"w-{number}")
            assert (instance["last_wal_offset"], instance["ctx"]["n"]) == into[-1]


def test_idle_connections_watchers_and_writers_at_once(besiege: Besiege, tmp_path: Path) -> None:
    crowd(besiege, tmp_path, idle=300, watchers=50, events=800)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_idle_a_thousand_watchers_and_a_load_of_writers(
    besiege: Besiege, tmp_path: Path
) -> None:
    crowd(besiege, tmp_path, idle=10_000, watchers=1_000, events=4_000)
