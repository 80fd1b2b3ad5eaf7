"""What only the async client does: many calls at once, cancelled calls, tasks that end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import rstmdb_client as client
import rstmdb_protocol as rcp
from rstmdb_client import Client

pytestmark = pytest.mark.anyio

PONG = rcp.PingResult(True)


async def test_many_calls_at_once_each_get_their_own_answer(url: str) -> None:
    seen: dict[int, str] = {}

    async def create(db: Client, number: int) -> None:
        made = await db.create_instance("order", 1, instance_id=f"c-{number}")
        seen[number] = made.instance_id

    async with Client.from_url(url) as db, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(create, db, number)
    assert seen == {number: f"c-{number}" for number in range(200)}


async def test_what_many_tasks_ask_goes_out_in_few_sends(peer: Callable[..., Any]) -> None:
    chunks: list[int] = []

    def count(session: Any) -> None:
        session.answer(session.receive(), PONG)
        recv = session.stream.recv
        answered = 0
        while answered < 100:
            data = recv(1 << 20)
            chunks.append(len(data))
            session._connection.feed(data)
            for request in session._connection.requests():
                session.answer(request, PONG)
                answered += 1

    async with Client.from_url(peer(count).url) as db:
        await db.ping()
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(db.ping)
    assert len(chunks) <= 3


async def test_a_cancelled_call_shifts_no_answer(peer: Callable[..., Any]) -> None:
    arrived = threading.Event()

    def slow(session: Any) -> None:
        first = session.receive()
        arrived.set()
        second = session.receive()
        session.answer(first, {"pong": False})
        session.answer(second, PONG)
        session.receive()

    async with Client.from_url(peer(slow).url) as db:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.ping)
            await anyio.to_thread.run_sync(arrived.wait)
            tasks.cancel_scope.cancel()
        assert await db.ping() == PONG


async def test_a_call_that_is_cancelled_before_it_is_on_its_way_is_not_sent(
    peer: Callable[..., Any],
) -> None:
    asked: list[str] = []

    def note(session: Any) -> None:
        while True:
            request = session.receive()
            asked.append(request.op)
            session.answer(request, PONG)

    async with Client.from_url(peer(note).url) as db:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await db.flush_all()
        await db.ping()
    assert asked == ["PING"]


async def test_answers_out_of_order_reach_who_asked(peer: Callable[..., Any]) -> None:
    def backwards(session: Any) -> None:
        requests = [session.receive() for _ in range(10)]
        for request in reversed(requests):
            found = rcp.GetMachineResult(request.params.machine, 1, {}, "")
            session.answer(request, found)
        session.receive()

    names: dict[str, str] = {}

    async def ask(db: Client, name: str) -> None:
        names[name] = (await db.get_machine(name)).machine

    async with Client.from_url(peer(backwards).url) as db, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(ask, db, f"m-{number}")
    assert names == {f"m-{number}": f"m-{number}" for number in range(10)}


async def test_calls_in_flight_are_repeated_together_on_one_new_connection(
    peer: Callable[..., Any],
) -> None:
    def hang_up(session: Any) -> None:
        for _ in range(20):
            session.receive()

    def serve(session: Any) -> None:
        while True:
            session.answer(session.receive(), PONG)

    one = peer(hang_up, serve)
    async with Client.from_url(one.url) as db, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(db.ping)
    assert one.connections == 2


async def test_leaving_the_block_ends_calls_in_flight_and_all_tasks(
    peer: Callable[..., Any],
) -> None:
    def mute(session: Any) -> None:
        while True:
            session.receive()

    problems: list[BaseException] = []

    async def ask(db: Client) -> None:
        try:
            await db.flush_all()
        except client.OutcomeUnknown as problem:
            problems.append(problem)

    async with anyio.create_task_group() as tasks, Client.from_url(peer(mute).url) as db:
        tasks.start_soon(ask, db)
        await anyio.wait_all_tasks_blocked()
    assert len(problems) == 1
    with pytest.raises(RuntimeError, match="async with"):
        await db.ping()


async def test_a_client_that_cannot_connect_leaves_nothing_behind() -> None:
    with pytest.raises(client.ConnectFailed):
        async with Client.from_url("rstmdb://127.0.0.1:1"):
            raise AssertionError("connected")


async def test_an_exception_in_the_block_comes_out_as_it_is(url: str) -> None:
    with pytest.raises(LookupError):
        async with Client.from_url(url):
            raise LookupError


async def test_a_client_can_be_entered_once_at_a_time_and_again(url: str) -> None:
    db = Client.from_url(url)
    async with db:
        with pytest.raises(RuntimeError, match="in use"):
            await db.__aenter__()
        assert (await db.ping()).pong
    async with db:
        assert (await db.ping()).pong


async def test_the_pauses_are_drawn_and_slept_by_what_is_given(peer: Callable[..., Any]) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await anyio.lowlevel.checkpoint()

    class Highest:
        def random(self) -> float:
            return 1.0

    one = peer(lambda session: session.receive())
    target = client.Target.parse(one.url)
    rng: Any = Highest()
    async with Client(target, rng=rng, sleep=sleep) as db:
        with pytest.raises(client.ConnectionLost):
            await db.ping()
    assert pauses == [0.05, 0.1, 0.2, 0.4]
