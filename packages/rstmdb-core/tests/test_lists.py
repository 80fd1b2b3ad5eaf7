"""Lists: orders, filters, pages and totals; the index against a plain sorted list."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_core import InstanceNotFound, InvalidRequest, State, list_instances_result
from rstmdb_core._index import Index
from rstmdb_core._lookup import _far
from rstmdb_core.testing import MemoryEngine

MACHINE: dict[str, Any] = {
    "states": ["a", "b", "c"],
    "initial": "a",
    "transitions": [
        {"from": ["a", "c"], "event": "b", "to": "b"},
        {"from": ["a", "b", "c"], "event": "a", "to": "a"},
    ],
}


@pytest.fixture
def db() -> MemoryEngine:
    engine = MemoryEngine()
    for machine in ("m", "n"):
        engine.put_machine(machine, 1, MACHINE)
    for number in range(6):
        engine.create(f"i{number}", "mn"[number % 2], 1)
    return engine


def ids(state: State, *args: Any, **kwargs: Any) -> list[str]:
    return [instance.id for instance in state.list_instances(*args, **kwargs)[0]]


def test_lists_are_in_order_of_creation(db: MemoryEngine) -> None:
    db.apply("i0", "b")
    assert ids(db.state) == ["i0", "i1", "i2", "i3", "i4", "i5"]
    assert ids(db.state, "m") == ["i0", "i2", "i4"]
    assert ids(db.state, "unknown") == []


def test_a_state_filter_orders_by_entry_into_the_state(db: MemoryEngine) -> None:
    for name in ("i4", "i1", "i0"):
        db.apply(name, "b")
    assert ids(db.state, "m", "b") == ["i4", "i0"]
    assert ids(db.state, None, "b") == ["i4", "i1", "i0"]
    assert ids(db.state, None, "b", 1, 1) == ["i1"]
    db.apply("i4", "a")
    assert ids(db.state, "m", "a") == ["i2", "i4"]
    assert ids(db.state, "m", "nowhere") == ids(db.state, None, "nowhere") == []


def test_an_event_that_leads_back_keeps_the_place(db: MemoryEngine) -> None:
    db.apply("i0", "a")
    assert ids(db.state, "m", "a") == ["i0", "i2", "i4"]


def test_pages_total_and_has_more(db: MemoryEngine) -> None:
    page = db.state.list_instances(None, None, 4)
    assert ([i.id for i in page[0]], page[1:]) == (["i0", "i1", "i2", "i3"], (6, True))
    assert db.state.list_instances(None, None, 4, 4)[1:] == (6, False)
    assert db.state.list_instances(None, None, 0)[1:] == (6, True)
    assert db.state.list_instances(None, None, 10, 100) == ([], 6, False)
    result = list_instances_result(db.state.list_instances("m", limit=1))
    assert (result.instances[0].id, result.total, result.has_more) == ("i0", 3, True)
    wrong: Any
    for wrong in (-1, "1", 1.5, True):
        with pytest.raises(InvalidRequest, match="limit"):
            db.state.list_instances(limit=wrong)
        with pytest.raises(InvalidRequest, match="offset"):
            db.state.list_instances(offset=wrong)


def test_a_page_goes_on_after_an_id_even_a_deleted_one(db: MemoryEngine) -> None:
    assert ids(db.state, after="i2") == ["i3", "i4", "i5"]
    assert ids(db.state, "m", None, 1, 1, "i0") == ["i4"]
    assert ids(db.state, "m", "a", after="i2") == ["i4"]
    assert ids(db.state, None, "a", after="i2") == ["i3", "i4", "i5"]
    db.delete("i2")
    assert ids(db.state, "m", after="i2") == ids(db.state, "m", "a", after="i2") == ["i4"]
    with pytest.raises(InstanceNotFound):
        ids(db.state, after="gone")
    with pytest.raises(InvalidRequest, match="machine 'n', not 'm'"):
        ids(db.state, "m", after="i1")
    db.apply("i4", "b")
    with pytest.raises(InvalidRequest, match="no longer in state 'a'"):
        ids(db.state, "m", "a", after="i4")


def test_a_list_depends_on_what_touched_its_machine(db: MemoryEngine) -> None:
    offset = db.apply("i0", "b").wal_offset
    db.apply("i1", "b")
    assert db.state.list_depends_on("m") == offset == db.state.touched["m"]
    assert db.state.list_depends_on() == db.head
    assert db.state.list_depends_on("unknown") == 0


STEPS = st.tuples(st.sampled_from("aadir"), st.integers(0, 10_000))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("aadir"), st.integers(0, 10_000)), max_size=60), st.data()
)
def test_an_index_is_a_sorted_list(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    model = [(key * 10, f"s{key}") for key in range(2000)]
    index = Index("x", [(name, key) for key, name in model])
    top = 100_000
    removed: list[tuple[int, str]] = []
    for step, number in steps:
        if step == "a":
            for _ in range(number % 800):
                top += 1
                model.append((top, f"a{top}"))
                index.add(top, f"a{top}")
        elif step in "di" and model:
            start = number % len(model)
            for key, name in model[start : start + 700]:
                index.discard(key, name)
            removed += model[start : start + 700]
            del model[start : start + 700]
        elif removed:
            for _ in range(min(len(removed), number % 900)):
                key, name = removed.pop()
                index.add(key, name)
                model.append((key, name))
            model.sort()
    names = [name for _, name in model]
    assert (len(index), list(index.skip(0))) == (len(names), names)
    if names:
        at = data.draw(st.integers(0, len(names) - 1))
        assert list(index.skip(at)) == names[at:]
        assert list(index.after(model[at][0])) == names[at + 1 :]
        assert index.rank(model[at][0]) == at + 1
        assert list(index.items_after(model[at][0])) == model[at + 1 :]


@pytest.mark.parametrize("seed", range(3))
def test_any_page_of_several_machines_is_a_slice_of_the_whole_list(seed: int) -> None:
    """Thousands of instances, so that each list has several chunks, some of them sparse."""
    rng = random.Random(seed)
    engine = MemoryEngine()
    machines = ["m", "n", "o"]
    for machine in machines:
        engine.put_machine(machine, 1, MACHINE)
    for number in range(6000):
        # Long runs of one machine beside single ones: chunks that overlap others, or span many.
        machine = machines[number // 1500 % 3] if rng.random() < 0.9 else rng.choice(machines)
        engine.create(f"i{number}", machine, 1)
    state = engine.state
    for _ in range(3000):
        name = f"i{rng.randrange(6000)}"
        engine.apply(name, "b" if state.get_instance(name).state == "a" else "a")
    for wanted in ("a", "b", None):
        whole = ids(state, None, wanted, 10_000)
        assert len(whole) > 1000
        for _ in range(60):
            skip, limit = rng.randrange(len(whole) + 10), rng.randrange(1, 20)
            assert ids(state, None, wanted, limit, skip) == whole[skip : skip + limit]
            first = rng.randrange(len(whole))
            found = ids(state, None, wanted, limit, skip, whole[first])
            assert found == whole[first + 1 + skip :][:limit]


def test_a_far_offset_among_several_machines_costs_no_walk_over_all_before_it() -> None:
    lists = [Index(name, ((f"{name}{n}", n * 3 + at) for n in range(100_000)))
             for at, name in enumerate("abc")]  # fmt: skip
    skip = 250_000
    position = _far(lists, skip)
    reached = sum(index.rank(position) for index in lists)
    assert 0 <= skip - reached < 3000
