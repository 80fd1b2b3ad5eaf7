"""A repeat gets the first answer; keys age, are bounded, and survive a replay."""

from __future__ import annotations

from typing import Any

import pytest

from rstmdb_core import (
    Checkpoint,
    Conflict,
    GuardFailed,
    InvalidTransition,
    Limits,
    Repeat,
    State,
    apply_event,
    create_instance,
    dump,
)
from rstmdb_core.testing import MemoryEngine

MACHINE: dict[str, Any] = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [
        {"from": "a", "event": "go", "to": "b"},
        {"from": ["a", "b"], "event": "stay", "to": "a", "guard": "ctx.free"},
        {"from": "b", "event": "back", "to": "a"},
    ],
}
DAY = 86_400_000


@pytest.fixture
def db() -> MemoryEngine:
    engine = MemoryEngine()
    engine.put_machine("m", 1, MACHINE)
    engine.put_machine("m2", 1, MACHINE)
    engine.create("i", "m", 1)
    return engine


def checked(db: MemoryEngine) -> None:
    assert db.replayed().digest() == db.state.digest()
    assert State.load(dump(db.state.freeze())).digest() == db.state.digest()


def test_a_repeated_event_returns_the_first_result_unapplied(db: MemoryEngine) -> None:
    first = db.apply("i", "go", {"n": 1}, event_id="e", idempotency_key="k")
    db.apply("i", "back", {"n": 2})
    length = len(db.log)
    again = db.apply("i", "go", {"n": 1}, event_id="other", idempotency_key="k")
    assert (first.applied, again.applied) == (True, False)
    for name in ("from_state", "to_state", "wal_offset", "event_id"):
        assert getattr(first, name) == getattr(again, name)
    assert bytes(first.ctx) == bytes(again.ctx) == b'{"n":1}'
    assert len(db.log) == length
    decided = apply_event(db.state, db.options, db.now, "i", "go", {"n": 1}, idempotency_key="k")
    assert isinstance(decided, Repeat)
    assert decided.depends_on == first.wal_offset
    checked(db)


def test_a_key_of_another_request_is_a_conflict(db: MemoryEngine) -> None:
    offset = db.apply("i", "go", {"n": 1}, idempotency_key="k").wal_offset
    for event, payload in (("back", {"n": 1}), ("go", {"n": 2}), ("go", None), ("go", {"n": 1.0})):
        with pytest.raises(Conflict) as caught:
            db.apply("i", event, payload, idempotency_key="k")
        assert caught.value.details == {"idempotency_key": "k", "wal_offset": offset}
        assert caught.value.depends_on == offset


def test_the_order_of_keys_and_an_absent_payload_make_no_other_request(db: MemoryEngine) -> None:
    db.apply("i", "go", {"x": 1, "y": {"p": 1, "q": 2}}, idempotency_key="k")
    repeat = db.apply("i", "go", {"y": {"q": 2, "p": 1}, "x": 1}, idempotency_key="k")
    assert not repeat.applied
    db.apply("i", "back", None, idempotency_key="l")
    assert not db.apply("i", "back", {}, idempotency_key="l").applied


def test_keys_are_scoped_to_operation_and_instance(db: MemoryEngine) -> None:
    db.create("j", "m", 1, idempotency_key="k")
    assert db.apply("i", "go", idempotency_key="k").applied
    assert db.apply("j", "go", {"n": 1}, idempotency_key="k").applied
    assert db.delete("j", idempotency_key="k").deleted
    checked(db)


def test_a_repeated_create_names_the_same_instance(db: MemoryEngine) -> None:
    first = db.create(None, "m", 1, {"n": 1}, "k")
    assert db.create(None, "m", 1, {"n": 1}, "k") == first
    for machine, ctx in (("m", {"n": 2}), ("m", {})):
        with pytest.raises(Conflict):
            db.create(None, machine, 1, ctx, "k")
    assert db.create(None, "m2", 1, {}, "k") != first
    named = db.create("n", "m", 1, {}, "k")
    assert db.create("n", "m", 1, {}, "k") == named
    with pytest.raises(Conflict):
        db.create("n", "m2", 1, {}, "k")
    decided = create_instance(
        db.state, db.options, db.now, lambda: "x", None, "m", 1, {"n": 1}, "k"
    )
    assert isinstance(decided, Repeat)
    checked(db)


def test_a_create_and_a_delete_repeat_after_the_instance_is_gone(db: MemoryEngine) -> None:
    created = db.create("j", "m", 1, idempotency_key="c")
    deleted = db.delete("j", idempotency_key="d")
    assert db.create("j", "m", 1, idempotency_key="c") == created
    assert db.delete("j", idempotency_key="d") == deleted
    assert db.delete("j", idempotency_key="other") == deleted
    checked(db)


def test_a_refusal_is_not_remembered(db: MemoryEngine) -> None:
    with pytest.raises(InvalidTransition):
        db.apply("i", "back", idempotency_key="k")
    with pytest.raises(GuardFailed):
        db.apply("i", "stay", idempotency_key="k")
    assert db.apply("i", "go", idempotency_key="k").applied


def test_a_key_lasts_for_the_retention_by_the_time_of_entries(db: MemoryEngine) -> None:
    db.apply("i", "go", idempotency_key="k")
    db.now += DAY - 1
    assert not db.apply("i", "go", idempotency_key="k").applied
    db.now += 1
    with pytest.raises(InvalidTransition):
        db.apply("i", "go", idempotency_key="k")
    assert db.state.keys.by_key
    db.apply("i", "back")
    assert not db.state.keys.by_key
    assert db.apply("i", "go", {"n": 1}, idempotency_key="k").applied
    checked(db)


def test_a_night_of_keys_leaves_little_by_little(db: MemoryEngine) -> None:
    for n in range(500):
        db.apply("i", "back" if n % 2 else "go", idempotency_key=f"k{n}")
    db.now += DAY
    sizes = []
    for n in range(9):
        db.now += 1
        db.apply("i", "back" if n % 2 else "go", idempotency_key=f"k{n}")
        sizes.append(len(db.state.keys.queue))
    assert sizes[0] == 437
    assert sizes[-1] == 9
    checked(db)


def test_keys_are_bounded_in_number_the_oldest_out_first(db: MemoryEngine) -> None:
    db.append(Checkpoint(db.now, None, Limits(DAY, 3, 1 << 30)))
    for n in range(5):
        db.apply("i", "back" if n % 2 else "go", idempotency_key=f"k{n}")
    assert [record.key[-2:] for record in db.state.keys.queue] == ["k2", "k3", "k4"]
    assert not db.apply("i", "go", idempotency_key="k2").applied
    assert db.apply("i", "back", idempotency_key="k1").applied
    checked(db)


def test_keys_are_bounded_in_bytes(db: MemoryEngine) -> None:
    db.append(Checkpoint(db.now, None, Limits(DAY, 1000, 10_000)))
    for n in range(30):
        db.apply("i", "back" if n % 2 else "go", {"x": "y" * 1000}, idempotency_key=f"k{n}")
    assert db.state.keys.bytes <= 10_000
    assert len(db.state.keys.queue) == 9
    checked(db)


def test_as_many_small_results_as_keys_are_kept_within_the_default_limits(
    db: MemoryEngine,
) -> None:
    key = "0f8fad5b-d9cb-469f-a165-70867728950e"
    name = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    db.create(name, "m", 1, {"customer": "c-1234567", "amount": 100}, idempotency_key=key)
    db.apply(name, "go", {"at": "2024-01-01T00:00:00Z"}, event_id=key, idempotency_key=key)
    limits = Limits()
    sizes = [record.size for record in db.state.keys.queue]
    assert len(sizes) == 2
    assert max(sizes) * limits.idempotency_max_keys <= limits.idempotency_max_bytes


def test_limits_change_by_an_entry_and_apply_at_once(db: MemoryEngine) -> None:
    for n in range(10):
        db.apply("i", "back" if n % 2 else "go", idempotency_key=f"k{n}")
    before = db.head
    digest = db.state.digest()
    db.append(Checkpoint(db.now, None, Limits(DAY, 2, 1 << 30)))
    assert len(db.state.keys.queue) == 2
    checked(db)
    db.rollback(before)
    assert db.state.digest() == digest
    db.append(Checkpoint(db.now + 5, None, Limits(5, 100, 1 << 30)))
    assert not db.state.keys.queue
    checked(db)
