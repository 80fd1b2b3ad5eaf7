"""The engine: guards, decide, evolve, entries. `nox -s micro`."""

from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rstmdb_core import (
    ENTRY_KINDS,
    ApplyEvent,
    EngineOptions,
    Entry,
    Repeat,
    State,
    apply_event,
    compile_guard,
    create_instance,
    decode_entry,
    encode_entry,
    put_machine,
)

OPTIONS = EngineOptions()
NOW_MS = 1_800_000_000_000
STATES = ["s0", "s1", "s2", "s3", "s4"]
PAYLOAD = {"step": 7, "who": "load"}
GUARDS = {
    "field": "ctx.paid",
    "comparison": "ctx.amount >= 100",
    "path": 'ctx.customer.address.country == "CH"',
    "three parts": "ctx.amount > 10 && ctx.amount < 1000 && !ctx.blocked",
}
CTX: dict[str, Any] = {
    "paid": True, "amount": 100, "blocked": False, "customer": {"address": {"country": "CH"}},
}  # fmt: skip


def ring(guard: str | None) -> dict[str, Any]:
    return {
        "states": STATES,
        "initial": "s0",
        "transitions": [
            {"from": state, "event": "NEXT", "to": STATES[(n + 1) % 5]}
            | ({} if guard is None else {"guard": guard})
            for n, state in enumerate(STATES)
        ],
    }


def take(state: State, entry: Entry | Repeat | Any, offset: int) -> None:
    assert not isinstance(entry, Repeat)
    state.evolve(entry, offset)


def filled(instances: int, guard: str | None = None) -> State:
    state = State()
    take(state, put_machine(state, OPTIONS, NOW_MS, "load", 1, ring(guard)), 1)
    for number in range(instances):
        ctx = {"customer": f"c-{number}", "amount": 100}
        entry = create_instance(state, OPTIONS, NOW_MS, str, f"i-{number}", "load", 1, ctx)
        take(state, entry, 2 + number)
    return state


def test_an_empty_loop(benchmark: BenchmarkFixture) -> None:
    """What the measuring itself costs."""
    benchmark(lambda: None)


@pytest.mark.parametrize("text", GUARDS.values(), ids=GUARDS)
def test_a_guard_is_evaluated(benchmark: BenchmarkFixture, text: str) -> None:
    assert benchmark(compile_guard(text), CTX) is True


@pytest.mark.parametrize("guard", [None, "ctx.amount >= 100"], ids=["bare", "guarded"])
def test_an_event_is_decided(benchmark: BenchmarkFixture, guard: str | None) -> None:
    state = filled(1000, guard)
    entry = benchmark(apply_event, state, OPTIONS, NOW_MS, "i-7", "NEXT", PAYLOAD)
    assert entry.to_state == "s1"


@pytest.mark.parametrize("instances", [1000, 100_000])
def test_an_event_is_decided_and_evolved(benchmark: BenchmarkFixture, instances: int) -> None:
    state = filled(instances)
    offset = instances + 10
    number = 0

    def step() -> None:
        nonlocal offset, number
        number = (number + 7919) % instances
        take(state, apply_event(state, OPTIONS, NOW_MS, f"i-{number}", "NEXT", PAYLOAD), offset)
        offset += 1

    benchmark(step)
    assert offset > instances + 10


def entry_of_an_event() -> ApplyEvent:
    entry = apply_event(filled(10), OPTIONS, NOW_MS, "i-7", "NEXT", PAYLOAD)
    assert isinstance(entry, ApplyEvent)
    return entry


def test_an_entry_is_encoded(benchmark: BenchmarkFixture) -> None:
    assert benchmark(encode_entry, entry_of_an_event())


def test_an_entry_is_decoded(benchmark: BenchmarkFixture) -> None:
    entry = entry_of_an_event()
    assert (
        benchmark(decode_entry, ENTRY_KINDS[ApplyEvent], encode_entry(entry)).instance_id == "i-7"
    )
