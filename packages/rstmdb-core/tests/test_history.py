"""Rollback, replay and snapshots agree, whatever was done; evolve never fails."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rstmdb_core import (
    ApplyEvent,
    Checkpoint,
    CreateInstance,
    DeleteInstance,
    FlushAll,
    Instance,
    Limits,
    MalformedEntry,
    MalformedSnapshot,
    PutMachine,
    Rejection,
    SnapshotMark,
    State,
    decode_entry,
    dump,
    dump_instance,
    renumbered,
    replay,
)
from rstmdb_core.testing import MemoryEngine

MACHINE: dict[str, Any] = {
    "states": ["a", "b", "c"],
    "initial": "a",
    "transitions": [
        {"from": ["a", "b"], "event": "next", "to": "b", "guard": "ctx.n < 3"},
        {"from": ["a", "b"], "event": "next", "to": "c"},
        {"from": ["a", "b", "c"], "event": "reset", "to": "a"},
    ],
}
NAMES = st.sampled_from(["i", "j", "k", "l"])
KEYS = st.sampled_from([None, None, "k1", "k2", "k3"])
PAYLOADS = st.sampled_from([None, {}, {"n": 1}, {"n": 5}, {"x": [1, {"y": "é"}]}])


class Logged(NamedTuple):
    """A record of a log."""

    kind: int
    payload: bytes
    offset: int
    legacy: bool


def orders(state: State) -> list[Any]:
    """Every list that the state can give, as ids."""
    filters = [(m, s) for m in (None, "m", "n") for s in (None, "a", "b", "c")]
    return [[i.id for i in state.list_instances(m, s)[0]] for m, s in filters] + [
        state.list_instances(m, s)[1] for m, s in filters
    ]


def told(state: State) -> list[Any]:
    """What a list or a refusal would depend on."""
    return [dict(state.touched), state.last_offset, state.last_flush_all, state.last_timestamp]


class History(RuleBasedStateMachine):
    """Random commands and rollbacks; what survives must be what a fresh replay makes."""

    def __init__(self) -> None:
        super().__init__()
        self.db = MemoryEngine()
        self.released = 0
        self.frozen: tuple[int, Any, list[Any]] | None = None

    @initialize()
    def begin(self) -> None:
        self.db.put_machine("m", 1, MACHINE)
        self.db.append(Checkpoint(self.db.now, None, Limits(1000, 3, 2000)))

    def attempt(self, call: Any, *args: Any, **kwargs: Any) -> None:
        try:
            call(*args, **kwargs)
        except Rejection as error:
            assert error.depends_on <= self.db.head  # noqa: PT017 (both outcomes are fine)

    @rule(ms=st.sampled_from([-5, 1, 300, 1000]))
    def time_passes(self, ms: int) -> None:
        self.db.now += ms

    @rule(name=st.sampled_from("mn"), version=st.integers(1, 2))
    def put(self, name: str, version: int) -> None:
        self.attempt(self.db.put_machine, name, version, MACHINE)

    @rule(name=NAMES | st.none(), machine=st.sampled_from("mn"), ctx=PAYLOADS, key=KEYS)
    def create(self, name: str | None, machine: str, ctx: Any, key: str | None) -> None:
        self.attempt(self.db.create, name, machine, 1, ctx, key)

    @rule(name=NAMES, event=st.sampled_from(["next", "reset"]), payload=PAYLOADS, key=KEYS)
    def apply(self, name: str, event: str, payload: Any, key: str | None) -> None:
        self.attempt(self.db.apply, name, event, payload, idempotency_key=key, event_id=key)

    @rule(name=NAMES, key=KEYS)
    def delete(self, name: str, key: str | None) -> None:
        self.attempt(self.db.delete, name, key)

    @rule(dice=st.integers(0, 9))
    def flush(self, dice: int) -> None:
        if dice == 0:
            self.db.flush_all()

    @rule(retention=st.sampled_from([500, 1000, 5000]), keys=st.integers(1, 4))
    def checkpoint(self, retention: int, keys: int) -> None:
        self.db.append(Checkpoint(self.db.now, None, Limits(retention, keys, 2000)))

    @rule(name=NAMES)
    def nonsense(self, name: str) -> None:
        self.db.append(ApplyEvent(name + "!", "next", "a", "b", None, {}, None, None, self.db.now))
        if name in self.db.state.instances:
            self.db.append(CreateInstance(name, "m", 1, "a", {}, None, False, self.db.now, 0))

    @precondition(lambda self: len(self.db.log) > 2)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        offsets = [offset for _, _, offset in self.db.log[1:] if offset >= self.released]
        after = data.draw(st.sampled_from(offsets))
        self.db.rollback(after)
        if self.frozen is not None and after < self.frozen[0]:
            self.frozen = None

    @rule()
    def freeze(self) -> None:
        state = self.db.state
        self.frozen = (state.last_offset, state.freeze(), list(dump(state.freeze())))

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def a_frozen_state_is_unchanged(self) -> None:
        assert self.frozen is not None
        _, frozen, blocks = self.frozen
        self.frozen = None
        assert list(dump(frozen)) == blocks

    @rule()
    def small_offsets_change_nothing_else(self) -> None:
        state = self.db.state
        before = state.digest()
        small = renumbered(state)
        assert state.digest() == before
        assert orders(small) == orders(state)
        assert small.last_offset <= 1 + 5 * len(self.db.log)
        assert renumbered(small).digest() == small.digest()
        assert len(small.keys.by_key) == len(state.keys.by_key)
        for name in "mn":
            if name in state.groups and state.groups[name].versions:
                assert small.get_machine(name).version == state.get_machine(name).version

    @rule()
    def a_replay_in_one_go_agrees(self) -> None:
        state = State()
        replay(state, [Logged(*record, False) for record in self.db.log])
        assert state.digest() == self.db.state.digest()

    @precondition(lambda self: len(self.db.log) > 2)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from([offset for _, _, offset in self.db.log[1:]]))
        self.released = max(self.released, offset)
        self.db.state.released(offset)

    @invariant()
    def a_replay_agrees(self) -> None:
        state = self.db.state
        replayed = self.db.replayed()
        loaded = State.load(dump(state.freeze()))
        for other in (replayed, loaded):
            assert other.digest() == state.digest()
            assert orders(other) == orders(state)
            assert told(other) == told(state)
        assert replayed.sweep_at == state.sweep_at == loaded.sweep_at
        assert replayed.keys.bytes == state.keys.bytes


History.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # which says more of the machine than of us
)
TestHistory = History.TestCase


def test_replaying_after_a_snapshot_equals_a_full_replay() -> None:
    db = MemoryEngine()
    db.put_machine("m", 1, MACHINE)
    for n in range(20):
        db.create(f"i{n}", "m", 1, {"n": n}, f"k{n}")
    blocks = list(dump(db.state.freeze()))
    snapshot = db.head
    for n in range(0, 20, 3):
        db.apply(f"i{n}", "next", idempotency_key="k")
        db.delete(f"i{n}")
    wire = msgspec.msgpack.decode(msgspec.msgpack.encode(blocks))
    state = State.load(wire)
    for kind, payload, offset in db.log:
        if offset > snapshot:
            state.evolve(decode_entry(kind, payload), offset)
    assert state.digest() == db.state.digest()
    assert orders(state) == orders(db.state)


@pytest.mark.parametrize("bad", [(3, b"\xc1"), (3, b""), (99, b"\x80"), (2, b"\x80")])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_replay_says_which_record_holds_no_entry(bad: tuple[int, bytes], legacy: bool) -> None:
    db = MemoryEngine()
    db.put_machine("m", 1, MACHINE)
    db.create("i", "m", 1)
    whole = [Logged(*record, False) for record in db.log]
    db.apply("i", "reset")
    records = [*whole, Logged(*bad, 900, legacy), Logged(*db.log[-1], False)]
    state = State()
    with pytest.raises(MalformedEntry) as caught:
        replay(state, records)
    assert caught.value.done == 2
    replay(state, records[3:])
    assert state.digest() == db.state.digest()


def test_a_frozen_state_stays_what_it_was() -> None:
    db = MemoryEngine()
    db.put_machine("m", 1, MACHINE)
    for n in range(2500):
        db.create(f"i{n}", "m", 1)
    frozen = db.state.freeze()
    before = list(dump(db.state.freeze()))
    assert [len(rows) for section, rows in before if section == "instances"] == [1000, 1000, 500]
    db.apply("i0", "next", idempotency_key="k")
    db.delete("i1")
    assert list(dump(frozen)) == before
    assert list(dump(db.state.freeze())) != before
    (block,) = dump_instance(db.state.get_instance("i0"))
    assert State.load([block]).get_instance("i0") == db.state.get_instance("i0")


def test_instances_of_another_origin_are_brought_in() -> None:
    instance = Instance("i", "old", 1, "a", b"{}", None, 700, 5, 5, 700, 700)
    state = State.load([("instances", [instance])])
    assert state.get_instance("i") == instance
    assert (state.last_offset, state.touched) == (700, {"old": 700})
    assert [i.id for i in state.list_instances("old", "a")[0]] == ["i"]
    state.evolve(ApplyEvent("i", "next", "a", "b", None, {"late": 1}), 600)
    assert state.get_instance("i") == instance
    assert state.ignored["event already applied"] == 1


@pytest.mark.parametrize(
    "blocks",
    [
        [("surprise", [])],
        [("meta", [99])],
        [("meta", [])],
        [("meta", [1, 2])],
        [("instances", [["i"]])],
        [("instances", [["i", "m", 1, "a", b"{}", None, 1, 1, 1, 1, 1]] * 2)],
        [("machines", [["m", 1, b"{", 5]])],
        [("machines", [["m", 1, b"{}", 5]])],
        [("keys", [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])],
        [("tombstones", [["i"]])],
    ],
)
def test_a_dump_that_does_not_read_is_malformed(blocks: Any) -> None:
    with pytest.raises(MalformedSnapshot):
        State.load(blocks)


def test_nonsense_is_ignored_and_counted() -> None:
    db = MemoryEngine()
    db.put_machine("m", 1, MACHINE)
    db.create("i", "m", 1)
    digest = db.state.digest()
    evolve = db.state.evolve
    now = db.now
    evolve(CreateInstance("i", "m", 1, "b", {}, None, False, now, 0), 1000)
    evolve(ApplyEvent("x", "next", "a", "b", None, {}, None, None, now), 1001)
    evolve(DeleteInstance("x", None, now), 1002)
    evolve(PutMachine("m", 1, "", {"states": []}, now), 1003)
    evolve(PutMachine("m", 2, "", None, now), 1004)
    evolve(PutMachine("m", 3, "", {"states": []}, now), 1005)
    evolve(SnapshotMark("s", "i", 5, now), 1006)
    assert sum(db.state.ignored.values()) == 6
    db.state.rollback(db.head)
    assert db.state.digest() == digest


def test_the_log_of_the_original_replays() -> None:
    entries: list[tuple[int, dict[str, Any]]] = [
        (1, {"type": "put_machine", "machine": "m", "version": 1, "definition_hash": "0badcafe",
             "definition": {**MACHINE, "colour": "red"}}),
        (2, {"type": "create_instance", "instance_id": "i", "machine": "m", "version": 1,
             "initial_state": "a", "initial_ctx": {"n": 1}, "idempotency_key": "c"}),
        (2, {"type": "create_instance", "instance_id": "j", "machine": "lost", "version": 4,
             "initial_state": "s", "initial_ctx": {}}),
        (3, {"type": "apply_event", "instance_id": "i", "event": "next", "from_state": "a",
             "to_state": "b", "payload": {"n": 2}, "ctx": {"n": 2}, "idempotency_key": "k"}),
        (3, {"type": "apply_event", "instance_id": "j", "event": "odd", "from_state": "s",
             "to_state": "t", "payload": None, "ctx": {"z": 1}}),
        (4, {"type": "delete_instance", "instance_id": "j"}),
    ]  # fmt: skip
    state = State()
    for number, (kind, fields) in enumerate(entries):
        payload = json.dumps(fields).encode()
        state.evolve(decode_entry(kind, payload, legacy=True), (1 << 40) + number)
    assert not state.ignored
    instance = state.get_instance("i")
    assert (instance.state, instance.ctx, instance.updated_at) == ("b", b'{"n":2}', 0)
    db = MemoryEngine()
    db.state = state
    db.head = 2 << 40
    assert not db.apply("i", "next", {"n": 2}, idempotency_key="k").applied
    db.apply("i", "reset")
    # What has no time ages from the first time that any entry tells.
    assert not db.apply("i", "next", {"n": 2}, idempotency_key="k").applied
    assert db.delete("j").deleted
    db.now += 86_400_000
    db.apply("i", "next", {"n": 2}, idempotency_key="k")
    assert db.state.get_instance("i").updated_at == db.now


def test_a_flush_can_be_undone() -> None:
    db = MemoryEngine()
    db.put_machine("m", 1, MACHINE)
    db.create("i", "m", 1, idempotency_key="k")
    before = db.head
    digest = db.state.digest()
    db.append(FlushAll(db.now))
    db.put_machine("m", 1, {**MACHINE, "initial": "b"})
    db.create("i", "m", 1)
    db.rollback(before)
    assert db.state.digest() == digest
    assert db.apply("i", "next").to_state == "c"
