"""Random work, crashes and power losses, compared with a model in plain Python.

The model keeps what the database should hold after each command. After a crash the database
must hold one of the states that are allowed: all that was acknowledged, and of what was not
any whole beginning; under the policies that sync later, what was synced at least.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rstmdb_core import Rejection
from rstmdb_storage import BatchAborted, Database
from rstmdb_storage.testing import Clock, comparable, open_simulated, simulated_options
from rstmdb_wal.testing import SimulatedCrash, SimulatedFileSystem

SCALE = float(os.environ.get("RSTMDB_TEST_SCALE", "1"))
MACHINES = {
    name: {
        "states": ["a", "b", "c"],
        "initial": "a",
        "transitions": [
            {"from": "a", "event": "go", "to": "b"},
            {"from": "b", "event": "go", "to": "c"},
            {"from": "c", "event": "go", "to": "a"},
            {"from": ["a", "b", "c"], "event": "reset", "to": "a", "guard": "ctx.n >= 2"},
        ],
        "meta": {"name": name},
    }
    for name in ("m1", "m2")
}
NEXT = {"a": "b", "b": "c", "c": "a"}

Command = tuple[Any, ...]


@dataclass
class Item:
    machine: str
    state: str
    ctx: dict[str, Any]
    created_at: int
    updated_at: int
    created: int
    entered: int
    offset: int | None = None


@dataclass
class Model:
    """What the database should hold, and the rules by which commands change it."""

    machines: set[str] = field(default_factory=set)
    items: dict[str, Item] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    keys: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    count: int = 0

    def run(self, command: Command, now: int) -> str:
        """Carry a command out: "done", "repeat" (nothing written) or the refusal's name."""
        return str(getattr(self, "_" + command[0])(now, *command[1:]))

    def _put(self, now: int, name: str) -> str:
        known = name in self.machines
        self.machines.add(name)
        return "repeat" if known else "done"

    def _create(self, now: int, name: str, target: str, n: int, key: str | None) -> str:
        if key is not None and (known := self.keys.get(("create", target, key))) is not None:
            return "repeat" if known == (name, n) else "Conflict"
        if name not in self.machines:
            return "MachineNotFound"
        if target in self.items or target in self.dead:
            return "InstanceExists"
        self.count += 1
        self.items[target] = Item(name, "a", {"n": n}, now, now, self.count, self.count)
        if key is not None:
            self.keys["create", target, key] = (name, n)
        return "done"

    def _apply(self, now: int, target: str, event: str, n: int | None, key: str | None) -> str:
        if key is not None and (known := self.keys.get(("apply", target, key))) is not None:
            return "repeat" if known == (event, n) else "Conflict"
        item = self.items.get(target)
        if item is None:
            return "InstanceNotFound"
        if event not in ("go", "reset"):
            return "InvalidTransition"
        if event == "reset" and item.ctx["n"] < 2:
            return "GuardFailed"
        self.count += 1
        state = "a" if event == "reset" else NEXT[item.state]
        if state != item.state:
            item.entered = self.count
        item.state = state
        item.updated_at = now
        item.offset = None
        if n is not None:
            item.ctx = {"n": n}
        if key is not None:
            self.keys["apply", target, key] = (event, n)
        return "done"

    def _delete(self, now: int, target: str, key: str | None) -> str:
        if key is not None and ("delete", target, key) in self.keys:
            return "repeat"
        if target in self.dead:
            return "repeat"
        if target not in self.items:
            return "InstanceNotFound"
        del self.items[target]
        self.dead.add(target)
        if key is not None:
            self.keys["delete", target, key] = True
        return "done"

    def facts(self) -> dict[str, Any]:
        """All that can be seen of it, but offsets."""
        items = self.items

        def ids(order: str, **wanted: str) -> list[str]:
            chosen = [
                target
                for target, item in items.items()
                if all(getattr(item, name) == value for name, value in wanted.items())
            ]
            return sorted(chosen, key=lambda target: getattr(items[target], order))

        return {
            "machines": sorted(self.machines),
            "all": ids("created"),
            "by machine": {name: ids("created", machine=name) for name in MACHINES},
            "by state": {
                (name, state): ids("entered", machine=name, state=state)
                for name in MACHINES
                for state in NEXT
            },
            "items": {
                target: (i.machine, i.state, i.ctx, i.created_at, i.updated_at)
                for target, i in items.items()
            },
        }


def facts(db: Database) -> dict[str, Any]:
    """The same of a database."""

    def ids(**wanted: Any) -> list[str]:
        page = db.list_instances(**wanted)
        assert page.total == len(page.instances)
        return [item.id for item in page.instances]

    everything = ids()
    found = {target: db.get_instance(target) for target in everything}
    return {
        "machines": [item.machine for item in db.list_machines().items],
        "all": everything,
        "by machine": {name: ids(machine=name) for name in MACHINES},
        "by state": {
            (name, state): ids(machine=name, state=state) for name in MACHINES for state in NEXT
        },
        "items": {
            target: (i.machine, i.state, i.ctx, i.created_at, i.updated_at)
            for target, i in found.items()
        },
    }


TARGETS = st.sampled_from(["i1", "i2", "i3", "i4", "i5", "i6"])
KEYS = st.sampled_from([None, None, "k1", "k2"])
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(sorted(MACHINES))),
    st.tuples(
        st.just("create"), st.sampled_from(sorted(MACHINES)), TARGETS, st.integers(0, 3), KEYS
    ),
    st.tuples(
        st.just("apply"),
        TARGETS,
        st.sampled_from(["go", "go", "reset", "no"]),
        st.one_of(st.none(), st.integers(0, 3)),
        KEYS,
    ),
    st.tuples(st.just("delete"), TARGETS, KEYS),
)


class Comparison(RuleBasedStateMachine):
    """The database beside the model."""

    policies: tuple[str, ...] = ("every_write",)

    @initialize(seed=st.integers(0, 1 << 32), data=st.data())
    def open_first(self, seed: int, data: Any) -> None:
        self.fs = SimulatedFileSystem(seed)
        self.clock = Clock()
        self.policy = data.draw(st.sampled_from(self.policies))
        self.options = simulated_options(self.policy, segment_bytes=1024)
        self.model = Model()
        # What a crash may leave: states by how many entries the log must hold for them.
        self.history: list[tuple[int, Model]] = [(0, copy.deepcopy(self.model))]
        self.pending: list[Model] = []
        self.backups = 0
        self.db = open_simulated(self.fs, self.options, clock=self.clock)

    # -- commands

    def send(self, command: Command) -> Any:
        operation, *rest = command
        if operation == "put":
            return self.db.put_machine(rest[0], 1, MACHINES[rest[0]])
        if operation == "create":
            name, target, n, key = rest
            return self.db.create_instance(
                name, 1, instance_id=target, initial_ctx={"n": n}, idempotency_key=key
            )
        if operation == "apply":
            target, event, n, key = rest
            payload = None if n is None else {"n": n}
            return self.db.apply_event(target, event, payload, idempotency_key=key)
        return self.db.delete_instance(rest[0], idempotency_key=rest[1])

    def outcome(self, command: Command, result: Any) -> str:
        if isinstance(result, Rejection):
            return type(result).__name__
        if command[0] == "put":
            return "done" if result.created else "repeat"
        if command[0] == "apply":
            return "done" if result.applied else "repeat"
        return "done or repeat"

    def acknowledge(self, model: Model) -> None:
        self.model = model
        self.history.append((self.db._store.log.head, copy.deepcopy(model)))

    def check_outcome(self, command: Command, result: Any, expected: str) -> None:
        found = self.outcome(command, result)
        assert found == expected or (
            found == "done or repeat" and expected in ("done", "repeat")
        ), (command, result, expected)

    @rule(command=COMMANDS, later=st.sampled_from([0, 0, 7, 1000, -500]))
    def one(self, command: Command, later: int) -> None:
        self.clock.now_ms += later
        after = copy.deepcopy(self.model)
        now = max(self.clock.now_ms, self.db._store.state.last_timestamp)
        expected = after.run(command, now)
        self.pending = [after]
        try:
            try:
                result = self.send(command)
            except Rejection as rejection:
                result = rejection
        except SimulatedCrash:
            return self.revive(lose=self.fs.random_bytes(1)[0] % 2 == 0)
        self.check_outcome(command, result, expected)
        if expected == "done" and command[0] in ("create", "apply"):
            target = command[2] if command[0] == "create" else command[1]
            after.items[target].offset = result.wal_offset
        self.acknowledge(after)
        return None

    @rule(commands=st.lists(COMMANDS, min_size=1, max_size=5), atomic=st.booleans())
    def several(self, commands: list[Command], atomic: bool) -> None:
        now = max(self.clock.now_ms, self.db._store.state.last_timestamp)
        steps = [copy.deepcopy(self.model)]
        expected = []
        for command in commands:
            after = copy.deepcopy(steps[-1])
            expected.append(after.run(command, now))
            steps.append(after)
        refused = [n for n, word in enumerate(expected) if word not in ("done", "repeat")]
        fails = atomic and bool(refused)
        self.pending = [steps[0]] if fails else [steps[-1]] if atomic else steps[1:]
        batch = self.db.batch(atomic=atomic)
        for command in commands:
            self.collect(batch, command)
        aborted = None
        try:
            try:
                with batch:
                    pass
            except BatchAborted as error:
                aborted = error
        except SimulatedCrash:
            return self.revive(lose=self.fs.random_bytes(1)[0] % 2 == 0)
        if fails:
            assert aborted is not None
            assert (aborted.index, type(aborted.cause).__name__) == (
                refused[0],
                expected[refused[0]],
            )
            self.acknowledge(steps[0])
            return None
        assert aborted is None
        for command, result, word in zip(commands, batch.results, expected, strict=True):
            self.check_outcome(command, result, word)
        if not atomic:  # each stands alone, also when power is lost under a later sync
            head = self.db._store.log.head
            self.history += [(head, copy.deepcopy(step)) for step in steps[1:-1]]
        self.acknowledge(steps[-1])
        return None

    @staticmethod
    def collect(batch: Any, command: Command) -> None:
        operation, *rest = command
        if operation == "put":
            batch.put_machine(rest[0], 1, MACHINES[rest[0]])
        elif operation == "create":
            batch.create_instance(
                rest[0],
                1,
                instance_id=rest[1],
                initial_ctx={"n": rest[2]},
                idempotency_key=rest[3],
            )
        elif operation == "apply":
            payload = None if rest[2] is None else {"n": rest[2]}
            batch.apply_event(rest[0], rest[1], payload, idempotency_key=rest[3])
        else:
            batch.delete_instance(rest[0], idempotency_key=rest[1])

    # -- maintenance

    def maintain(self, work: Any) -> None:
        self.pending = []
        try:
            work()
        except SimulatedCrash:
            self.revive(lose=self.fs.random_bytes(1)[0] % 2 == 0)

    @rule(force=st.booleans())
    def compact(self, force: bool) -> None:
        self.maintain(lambda: self.db.compact(force_snapshot=force))

    @rule()
    def snapshot(self) -> None:
        self.maintain(lambda: self.db.snapshot())

    @precondition(lambda self: bool(self.model.items))
    @rule()
    def snapshot_one(self) -> None:
        self.maintain(lambda: self.db.snapshot_instance(next(iter(self.model.items))))

    @rule()
    def back_up(self) -> None:
        self.backups += 1
        name = f"/data/backup{self.backups}"
        self.maintain(lambda: self.db.backup(name))
        due, self.fs.crash_at = self.fs.crash_at, None
        if self.fs.exists(Path(name)):
            copied = open_simulated(self.fs, self.options, path=name, clock=self.clock)
            assert comparable(copied._store.state) == comparable(self.db._store.state)
            copied.close()
        if due is not None:
            self.fs.crash_at = max(due, self.fs.calls + 1)

    # -- ends and starts

    @rule()
    def reopen(self) -> None:
        state = comparable(self.db._store.state)
        self.maintain(self.close_and_open)
        assert comparable(self.db._store.state) == state or self.policy != "every_write"

    def close_and_open(self) -> None:
        self.db.close()
        self.history = self.history[-1:]
        self.db = open_simulated(self.fs, self.options, clock=self.clock)

    @rule(calls=st.integers(1, 60))
    def crash_soon(self, calls: int) -> None:
        if self.fs.crash_at is None:
            self.fs.crash_at = self.fs.calls + calls

    @rule()
    def crash(self) -> None:
        self.pending = []
        self.revive(lose=False)

    @rule()
    def power_loss(self) -> None:
        self.pending = []
        self.revive(lose=True)

    def revive(self, *, lose: bool) -> None:
        """Start again after a crash; starting, too, may be cut short."""
        log = self.db._store.log
        durable = log.durable if self.policy != "every_write" else log.released
        self.fs = self.fs.power_loss() if lose else self.fs.crash()
        while True:
            try:
                self.db = open_simulated(self.fs, self.options, clock=self.clock)
                break
            except SimulatedCrash:
                self.fs = self.fs.power_loss() if lose else self.fs.crash()
        found = facts(self.db)
        acknowledged = self.history[-1][1]
        allowed = [acknowledged, *self.pending]
        if lose and self.policy != "every_write":
            allowed += [model for offset, model in self.history if offset >= durable]
            behind = [model for offset, model in self.history if offset < durable]
            allowed += behind[-1:]
        matching = [model for model in allowed if model.facts() == found]
        assert matching, f"lost or half done: {found}; expected {acknowledged.facts()}"
        # An event that changes nothing one can see leaves its key: that tells them apart.
        remembered = len(self.db._store.state.keys.queue)
        matching.sort(key=lambda model: abs(len(model.keys) - remembered))
        self.model = copy.deepcopy(matching[0])
        self.pending = []
        self.history = [(self.db._store.log.head, copy.deepcopy(self.model))]

    # -- always

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "db"):
            return
        assert facts(self.db) == self.model.facts()
        for target, item in self.model.items.items():
            if item.offset is not None:
                assert self.db.get_instance(target).last_wal_offset == item.offset

    @rule()
    def the_log_alone_tells_the_same(self) -> None:
        """Snapshot and log, the log alone, and what is in memory: one state."""
        stats = self.db._store.log.stats()
        if self.policy != "every_write" or stats.segment_count == 0 or self.fs.crash_at:
            return
        state = comparable(self.db._store.state)
        other = self.fs.crash()
        self.fs = self.fs.crash()
        restored = open_simulated(other, self.options, clock=self.clock)
        assert comparable(restored._store.state) == state
        if restored._store.log.segments()[0][0] == 1:
            bare = self.fs.crash()
            self.fs = self.fs.crash()
            for name in bare.names("/data/snapshots"):
                bare.forget(f"/data/snapshots/{name}")
            replayed = open_simulated(bare, self.options, clock=self.clock)
            assert comparable(replayed._store.state) == state
        self.db = open_simulated(self.fs, self.options, clock=self.clock)
        assert comparable(self.db._store.state) == state


class LaterSyncs(Comparison):
    """The same under the policies that sync later."""

    policies = ("never", "every_n:4")

    @invariant()
    def no_more_than_the_window_is_unsynced(self) -> None:
        if hasattr(self, "db") and self.policy == "every_n:4":
            log = self.db._store.log
            # A batch is one answer: all of its records may be released with it.
            assert log.released_sequence - log.durable_sequence < 4


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", [Comparison, LaterSyncs])
def test_it_holds_what_the_model_holds(machine: type[RuleBasedStateMachine]) -> None:
    run(machine, 25, 30)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("machine", [Comparison, LaterSyncs])
def test_it_holds_what_the_model_holds_at_length(machine: type[RuleBasedStateMachine]) -> None:
    run(machine, int(1000 * SCALE), 60)
