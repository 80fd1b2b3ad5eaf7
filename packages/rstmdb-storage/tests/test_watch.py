"""Watches as SyncClient has them: filters, time limits, and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rstmdb_storage import Database, DatabaseClosed, InstanceNotFound

ORDER: dict[str, Any] = {
    "states": ["created", "paid", "shipped"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
    ],
}


@pytest.fixture
def db() -> Iterator[Database]:
    with Database.open(":memory:") as database:
        for machine in ("order", "gift"):
            database.put_machine(machine, 1, ORDER)
            for number in range(2):
                name = f"{machine}-{number}"
                database.create_instance(machine, 1, instance_id=name, initial_ctx={"n": number})
                database.apply_event(name, "PAY", {"by": "card"})
                database.apply_event(name, "SHIP")
        yield database


def seen(db: Database, **filters: Any) -> list[tuple[str, str]]:
    with db.watch_all(from_offset=0, **filters) as watch:
        found: list[tuple[str, str]] = []
        while True:
            try:
                event = watch.receive(timeout=0)
            except TimeoutError:
                return found
            found.append((event.instance_id, event.event))


def test_filters_are_and_between_kinds_and_or_within_one(db: Database) -> None:
    everything = [
        (f"{machine}-{number}", event)
        for machine in ("order", "gift")
        for number in range(2)
        for event in ("PAY", "SHIP")
    ]
    assert seen(db) == everything
    assert seen(db, machines=["order", "gift"]) == everything
    assert seen(db, machines=[], events=None) == everything
    assert seen(db, machines=["gift"]) == everything[4:]
    assert seen(db, events=["PAY"]) == everything[::2]
    assert seen(db, from_states=["paid"]) == everything[1::2]
    assert seen(db, to_states=["paid"], machines=["order"]) == everything[:4:2]
    assert seen(db, to_states=["paid"], from_states=["paid"]) == []


def test_a_context_is_left_out_where_nobody_asks_for_it(db: Database) -> None:
    with db.watch_instance("order-0", from_offset=1) as watch:
        assert watch.receive().ctx == {"n": 0, "by": "card"}
    with db.watch_instance("order-0", from_offset=1, include_ctx=False) as watch:
        event = watch.receive()
        assert (event.ctx, event.payload) == ({}, {"by": "card"})
        resumed = db.watch_all(from_offset=watch.next_offset)
        assert resumed.receive(timeout=0).event == "SHIP"


def test_a_watch_of_an_instance_ends_with_it(db: Database) -> None:
    with pytest.raises(InstanceNotFound, match="none"):
        db.watch_instance("none")
    first, other, everything = (
        db.watch_instance("order-0"),
        db.watch_instance("gift-0"),
        db.watch_all(),
    )
    db.delete_instance("order-0")
    with pytest.raises(InstanceNotFound, match="'order-0' was deleted"):
        first.receive(timeout=20)
    assert list(first) == []
    for watch in (other, everything):
        with pytest.raises(TimeoutError, match="no event in time"):
            watch.receive(timeout=0)
    db.flush_all()
    with pytest.raises(InstanceNotFound, match="'gift-0' was deleted"):
        next(other)


def test_an_event_is_delivered_before_the_end(db: Database) -> None:
    db.create_instance("order", 1, instance_id="late")
    watch = db.watch_instance("late")
    db.apply_event("late", "PAY")
    db.delete_instance("late")
    assert next(watch).event == "PAY"
    with pytest.raises(InstanceNotFound):
        next(watch)


def test_what_is_closed_says_so(db: Database) -> None:
    watch = db.watch_all()
    timer = threading.Timer(0.05, watch.close)
    timer.start()
    with pytest.raises(DatabaseClosed, match="the watch is closed"):
        watch.receive(timeout=20)
    timer.join()
    with db.watch_all() as watch:
        pass
    assert watch.closed
    watch = db.watch_all()
    timer = threading.Timer(0.05, db.close)
    timer.start()
    with pytest.raises(DatabaseClosed, match="the database is closed"):
        watch.receive(timeout=20)
    timer.join()
