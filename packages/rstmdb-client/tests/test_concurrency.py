"""Many calls at once: each gets its own answer, whoever is cancelled in between."""

from __future__ import annotations

import os
import random
import threading
import time

import anyio
import pytest

from rstmdb_client import Client, SyncClient

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
INSTANCES = 20


def prepare(url: str) -> None:
    """Paid orders, in which notes may be made, each with its own name and number."""
    with SyncClient.from_url(url) as db, db.batch(atomic=True) as batch:
        for number in range(INSTANCES):
            name = f"p-{number}"
            ctx = {"n": number, "name": name, "amount": 1}
            batch.create_instance("order", 1, instance_id=name, initial_ctx=ctx)
            batch.apply_event(name, "PAY")


@pytest.mark.anyio
async def test_a_thousand_calls_at_once_each_get_their_own_answer(url: str) -> None:
    prepare(url)
    wrong: list[tuple[int, int]] = []
    answered = 0

    async def ask(db: Client, number: int) -> None:
        nonlocal answered
        found = await db.get_instance(f"p-{number}")
        answered += 1
        if found.ctx["n"] != number:
            wrong.append((number, found.ctx["n"]))

    async with Client.from_url(url) as db:
        async with anyio.create_task_group() as tasks:
            for call in range(1000):
                tasks.start_soon(ask, db, call % INSTANCES)
        assert db._link is not None
        assert not db._link._pending
        assert not db._link._outbox
    assert (wrong, answered) == ([], 1000)


async def ask_and_cancel(url: str, seconds: float) -> None:
    """Reads, writes and batches, cancelled at random: before they leave, under way, or not."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    wrong: list[tuple[str, object]] = []
    counts = {"answered": 0, "cancelled": 0}
    end = time.monotonic() + seconds

    async def ask(db: Client, name: str) -> tuple[str, object]:
        """Who is asked, and who answers: each instance holds its own name."""
        kind = rng.choice(["get", "apply", "batch", "call"])
        if kind == "get":
            return name, (await db.get_instance(name)).ctx["name"]
        if kind == "apply":
            return name, (await db.apply_event(name, "NOTE")).ctx["name"]
        if kind == "call":
            return name, (await db.call("GET_INSTANCE", {"instance_id": name}))["ctx"]["name"]
        async with db.batch() as batch:
            noted, found = batch.apply_event(name, "NOTE"), batch.get_instance(name)
        return f"{name} {name}", f"{noted.result.ctx['name']} {found.result.ctx['name']}"

    async def work(db: Client) -> None:
        while time.monotonic() < end:
            with anyio.move_on_after(rng.choice([0, 0.0005, 0.002, 0.01, 1])) as scope:
                asked, answered = await ask(db, f"p-{rng.randrange(INSTANCES)}")
                counts["answered"] += 1
                if asked != answered:
                    wrong.append((asked, answered))
            counts["cancelled"] += scope.cancelled_caught

    async with Client.from_url(url) as db:
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(work, db)
        assert (await db.ping()).pong
        assert db._link is not None
        assert not db._link._pending
        assert not db._link._outbox
    print(counts)
    assert wrong == []
    assert min(counts.values()) > 50


@pytest.mark.anyio
async def test_cancelled_calls_shift_no_answer(url: str) -> None:
    prepare(url)
    await ask_and_cancel(url, 1.5)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_minute_of_cancelled_calls_shifts_no_answer(url: str) -> None:
    prepare(url)
    await ask_and_cancel(url, 60)


def test_threads_that_share_a_client_each_get_their_own_answers(url: str) -> None:
    prepare(url)
    wrong: list[tuple[int, int]] = []
    answered: list[int] = []

    with SyncClient.from_url(url) as db:

        def ask(number: int) -> None:
            for _ in range(100):
                n = db.get_instance(f"p-{number}").ctx["n"]
                answered.append(n)
                if n != number:
                    wrong.append((number, n))

        threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (wrong, len(answered)) == ([], 800)
