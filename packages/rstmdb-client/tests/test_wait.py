"""Waiting for a state and writing optimistically: every kind of client, and the embedded one."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import rstmdb_client as client
import rstmdb_protocol as rcp
import rstmdb_storage as storage
from rstmdb_client import Client, StateMachineDatabase, SyncClient, WaitTimeout
from rstmdb_server.testing import ServerProcess

COUNTER: dict[str, Any] = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "SET", "to": "on"}],
}


def later(action: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        time.sleep(0.05)
        action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_state_that_is_there_is_reached_at_once(db: Any) -> None:
    created = db.get_instance("o-1")
    reached = db.wait_for_state("o-1", "created", timeout=0)
    assert (reached.instance_id, reached.state) == ("o-1", "created")
    assert reached.wal_offset == created.last_wal_offset
    assert db.wait_for_state("o-1", ["paid", "created"]) == reached


def test_a_state_that_comes_is_waited_for_and_one_that_goes_again_is_seen(
    db: Any, url: str
) -> None:
    def pay_and_ship() -> None:
        with SyncClient.from_url(url) as other, other.batch(atomic=True) as batch:
            batch.apply_event("o-1", "PAY")
            batch.apply_event("o-1", "SHIP")

    thread = later(pay_and_ship)
    reached = db.wait_for_state("o-1", "paid", timeout=20)
    thread.join()
    assert reached.state == "paid"
    assert db.get_instance("o-1").state == "shipped"
    assert reached.wal_offset < db.get_instance("o-1").last_wal_offset


def test_no_moment_between_the_look_and_the_wait_is_lost(db: Any, url: str) -> None:
    with SyncClient.from_url(url) as other:
        for number in range(20):
            name = f"race-{number}"
            other.create_instance("order", 1, instance_id=name, initial_ctx={"amount": 1})
            thread = threading.Thread(target=other.apply_event, args=[name, "PAY"])
            thread.start()
            assert db.wait_for_state(name, "paid", timeout=20).state == "paid"
            thread.join()


def test_a_wait_that_takes_too_long_says_where_the_instance_is(db: Any) -> None:
    db.apply_event("o-1", "PAY")
    began = time.monotonic()
    with pytest.raises(
        WaitTimeout, match=r"o-1 .* shipped within 0.2 s; its state is paid"
    ) as late:
        db.wait_for_state("o-1", "shipped", timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 5
    assert late.value.state == "paid"
    assert isinstance(late.value, TimeoutError)
    copy = pickle.loads(pickle.dumps(late.value))
    assert (str(copy), copy.state) == (str(late.value), "paid")
    assert db.ping().pong


def test_a_wait_that_would_never_end_is_refused_or_ends(db: Any, url: str) -> None:
    with pytest.raises(ValueError, match=r"payed: no state of order version 1, .* created, paid"):
        db.wait_for_state("o-1", "payed")
    with pytest.raises(ValueError, match="at least one"):
        db.wait_for_state("o-1", [])
    with pytest.raises(client.InstanceNotFoundError):
        db.wait_for_state("none", "paid")
    other = SyncClient.from_url(url)
    thread = later(lambda: other.delete_instance("o-1"))
    with pytest.raises(client.WatchEnded, match="instance_deleted"):
        db.wait_for_state("o-1", "paid", timeout=20)
    thread.join()
    other.close()


def test_a_wait_begins_while_the_server_starts_and_outlasts_a_kill(
    tmp_path: Path, open_db: Callable[..., Any]
) -> None:
    with ServerProcess(tmp_path) as server:
        url = f"rstmdb://{server.address}"
        db = open_db(url)
        db.put_machine("counter", 1, {**COUNTER, "states": ["on", "done"],
            "transitions": [{"from": "on", "event": "END", "to": "done"}]})  # fmt: skip
        db.create_instance("counter", 1, instance_id="c")

        def restart_twice_and_end() -> None:
            server.start()
            server.kill()
            server.start()
            with SyncClient.from_url(url) as other:
                other.apply_event("c", "END")

        server.kill()
        thread = later(restart_twice_and_end)
        assert db.wait_for_state("c", "done", timeout=60).state == "done"
        thread.join()


def test_a_decision_is_applied_to_what_it_was_made_for(db: Any) -> None:
    asked: list[rcp.GetInstanceResult] = []

    def pay(instance: rcp.GetInstanceResult) -> client.Decision:
        asked.append(instance)
        return None if instance.state == "paid" else ("PAY", {"was": instance.ctx["amount"]})

    paid = db.decide_and_apply("o-1", pay)
    assert (paid.to_state, paid.ctx) == ("paid", {"amount": 10, "was": 10})
    assert db.decide_and_apply("o-1", pay) is None
    assert db.decide_and_apply("o-1", lambda _: "SHIP").to_state == "shipped"
    assert [instance.state for instance in asked] == ["created", "paid"]
    with pytest.raises(client.InstanceNotFoundError):
        db.decide_and_apply("none", pay)
    with pytest.raises(ValueError, match="attempts is 0"):
        db.decide_and_apply("o-1", pay, attempts=0)


def test_a_decision_that_is_always_too_late_raises_in_the_end(db: Any, url: str) -> None:
    db.apply_event("o-1", "PAY")
    decisions: list[str] = []
    with SyncClient.from_url(url) as other:

        def interfere(instance: rcp.GetInstanceResult) -> client.Decision:
            decisions.append(instance.state)
            other.apply_event("o-1", "NOTE")
            return "SHIP"

        with pytest.raises(client.ConflictError):
            db.decide_and_apply("o-1", interfere, attempts=3)
    assert decisions == ["paid"] * 3
    assert db.get_instance("o-1").state == "paid"


def add_one(instance: Any) -> client.Decision:
    return ("SET", {"n": instance.ctx["n"] + 1})


def add_in_threads(open_one: Callable[[], StateMachineDatabase]) -> int:
    """Five threads add one ten times each, and none may overwrite what another has added."""
    with open_one() as db:
        db.put_machine("counter", 1, COUNTER)
        db.create_instance("counter", 1, instance_id="c", initial_ctx={"n": 0})

        def add() -> None:
            for _ in range(10):
                assert db.decide_and_apply("c", add_one, attempts=100) is not None

        threads = [threading.Thread(target=add) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        total: int = db.get_instance("c").ctx["n"]
        return total


def test_writers_in_threads_overwrite_nothing(url: str, tmp_path: Path) -> None:
    assert add_in_threads(lambda: SyncClient.from_url(url)) == 50
    assert add_in_threads(lambda: storage.Database.open(tmp_path / "data")) == 50
    assert add_in_threads(lambda: storage.Database.open(":memory:")) == 50


@pytest.mark.anyio
async def test_writers_in_tasks_overwrite_nothing(url: str) -> None:
    async with Client.from_url(url) as db:
        await db.put_machine("counter", 1, COUNTER)
        await db.create_instance("counter", 1, instance_id="c", initial_ctx={"n": 0})

        async def add() -> None:
            for _ in range(10):
                await db.decide_and_apply("c", add_one, attempts=100)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(add)
        assert (await db.get_instance("c")).ctx["n"] == 50


@pytest.mark.anyio
async def test_a_cancelled_wait_leaves_no_watch(url: str) -> None:
    async with Client.from_url(url) as db:
        with anyio.move_on_after(0.2) as scope:
            await db.wait_for_state("o-1", "paid")
        assert scope.cancelled_caught
        assert not db._watches


def test_an_event_is_waited_for_as_long_as_is_asked(url: str) -> None:
    with SyncClient.from_url(url) as db:
        watch = db.watch_instance("o-1")
        watch.begin(10)
        with pytest.raises(TimeoutError, match="no event in time"):
            watch.receive(0.05)
        db.apply_event("o-1", "PAY")
        assert watch.receive(20).event == "PAY"
        watch.close()
        with pytest.raises(client.WatchEnded, match="closed") as closed:
            watch.receive(1)
        assert closed.value.resume_from == watch.next_offset


def test_a_look_without_waiting_sees_what_has_arrived(url: str) -> None:
    with SyncClient.from_url(url) as db, db.watch_instance("o-1") as watch:
        with pytest.raises(TimeoutError, match="no event in time"):
            watch.receive(timeout=0)
        db.apply_event("o-1", "PAY")
        db.apply_event("o-1", "NOTE")
        seen: list[str] = []
        deadline = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                seen.append(watch.receive(timeout=0).event)
        assert seen == ["PAY", "NOTE"]


def test_a_time_limit_holds_while_the_server_is_away(peer: Callable[..., Any]) -> None:
    def hang_up(session: Any) -> None:
        session.answer(session.receive(), rcp.WatchAllResult("s", 10))

    def mute(session: Any) -> None:
        while True:
            session.receive(hello=False)

    with SyncClient.from_url(peer(hang_up, mute).url).watch_all() as watch:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            watch.receive(0.2)
        assert time.monotonic() - began < 8  # and not the ten seconds that connecting may take


def test_the_embedded_database_waits_as_well(tmp_path: Path) -> None:
    order = {
        "states": ["created", "paid", "shipped"],
        "initial": "created",
        "transitions": [
            {"from": "created", "event": "PAY", "to": "paid"},
            {"from": "paid", "event": "SHIP", "to": "shipped"},
        ],
    }
    with storage.Database.open(tmp_path) as db:
        db.put_machine("order", 1, order)
        for number in range(4):
            db.create_instance("order", 1, instance_id=f"o-{number}")
        assert db.wait_for_state("o-0", "created", timeout=0).state == "created"

        def pay_and_ship() -> None:
            with db.batch(atomic=True) as batch:
                for name in ("o-1", "o-0"):
                    batch.apply_event(name, "PAY")
                    batch.apply_event(name, "SHIP")

        thread = later(pay_and_ship)
        reached = db.wait_for_state("o-0", ["paid", "shipped"], timeout=20)
        thread.join()
        assert reached.state == "paid"
        assert reached.wal_offset < db.get_instance("o-0").last_wal_offset

        with pytest.raises(storage.WaitTimeout, match="its state is shipped") as late:
            db.wait_for_state("o-0", "paid", timeout=0.05)
        assert late.value.state == "shipped"
        with pytest.raises(ValueError, match="payed: no state of order version 1"):
            db.wait_for_state("o-0", "payed")
        with pytest.raises(storage.InstanceNotFound):
            db.wait_for_state("none", "paid")
        thread = later(lambda: db.delete_instance("o-2"))
        with pytest.raises(storage.InstanceNotFound, match="was deleted"):
            db.wait_for_state("o-2", "paid", timeout=20)
        thread.join()
        thread = later(db.flush_all)
        with pytest.raises(storage.InstanceNotFound, match="was deleted"):
            db.wait_for_state("o-3", "paid", timeout=20)
        thread.join()
        db.put_machine("order", 1, order)
        db.create_instance("order", 1, instance_id="o-4")
        thread = later(db.close)
        with pytest.raises(storage.DatabaseClosed):
            db.wait_for_state("o-4", "paid", timeout=20)
        thread.join()
