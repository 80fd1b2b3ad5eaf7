"""The parts that are frozen by sharing: a queue and a map, against plain Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_core import Instance
from rstmdb_core._instance_map import InstanceMap
from rstmdb_core._queue import Queue


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("aapuf"), st.integers(1, 2500)), max_size=25))
def test_a_queue_is_a_deque_and_a_frozen_one_stays(steps: list[tuple[str, int]]) -> None:
    queue: Queue[int] = Queue()
    model: deque[int] = deque()
    gone: list[int] = []
    frozen: list[tuple[Iterator[int], list[int]]] = []
    number = 0
    for step, times in steps:
        if step == "a":
            for number in range(number + 1, number + 1 + times):  # noqa: B020 (counts on)
                queue.append(number)
                model.append(number)
            gone.clear()
        elif step == "p":
            for _ in range(min(times, len(model))):
                assert queue[0] == model[0]
                gone.append(model.popleft())
                assert queue.popleft() == gone[-1]
        elif step == "u":
            for _ in range(min(times, len(gone))):
                queue.appendleft(gone[-1])
                model.appendleft(gone.pop())
        else:
            frozen.append((queue.freeze(), list(model)))
        assert len(queue) == len(model)
    assert list(queue) == list(model)
    for items, expected in frozen:
        assert list(items) == expected


def test_additions_to_a_queue_can_be_taken_back_over_a_chunk() -> None:
    queue: Queue[int] = Queue()
    for number in range(3000):
        queue.append(number)
    for _ in range(1000):
        queue.popleft()
    for number in range(2999, 999, -1):
        assert queue.pop() == number
    assert (len(queue), list(queue)) == (0, [])
    queue.append(7)
    queue.appendleft(999)
    assert list(queue) == [999, 7]


def test_the_only_item_can_be_taken_out_put_back_and_taken_back() -> None:
    queue: Queue[int] = Queue()
    queue.append(1)
    queue.appendleft(queue.popleft())
    assert queue.pop() == 1
    assert not queue
    assert list(queue.freeze()) == []


def instance(name: str, version: int) -> Instance:
    return Instance(name, "m", version, "a", b"{}", None, 1, 1, 1, 1, 1)


def test_a_frozen_map_stays_what_it_was() -> None:
    names = [f"i{n}" for n in range(5000)]
    live = InstanceMap(instance(name, 1) for name in names)
    frozen = live.freeze()
    for name in names[::2]:
        live.put(instance(name, 2))
    for name in names[::5]:
        live.remove(name)
    again = live.freeze()
    live.put(instance("new", 3))
    assert sorted(frozen) == sorted(names)
    assert {frozen[name].version for name in frozen} == {1}
    assert len(again) == 4000
    assert len(live) == 4001
    assert again.get("new") is None
    assert "new" in live
    assert live.get("i0") is None
    assert live["i2"].version == 2
