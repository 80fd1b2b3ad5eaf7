"""What each command does, how it is refused, and in which order it is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rstmdb_core import (
    ApplyEventResult,
    Conflict,
    CreateInstanceResult,
    DeleteInstanceResult,
    EngineOptions,
    FlushAllResult,
    GuardFailed,
    InstanceExists,
    InstanceNotFound,
    InvalidRequest,
    InvalidTransition,
    MachineNotFound,
    MachineVersionExists,
    MachineVersionLimitExceeded,
    PutMachineResult,
    Rejection,
    State,
    dump,
    get_instance_result,
    get_machine_result,
)
from rstmdb_core.testing import MemoryEngine

DOOR: dict[str, Any] = {
    "states": ["closed", "open", "locked"],
    "initial": "closed",
    "transitions": [
        {"from": "closed", "event": "open", "to": "open"},
        {"from": ["open", "closed"], "event": "close", "to": "closed"},
        {"from": "closed", "event": "lock", "to": "locked", "guard": "ctx.key == 1"},
        {"from": "closed", "event": "lock", "to": "open", "guard": "ctx.key == 2"},
        {"from": "open", "event": "lock", "to": "locked", "guard": "ctx.key"},
    ],
}


@pytest.fixture
def db() -> MemoryEngine:
    engine = MemoryEngine()
    engine.put_machine("door", 1, DOOR)
    engine.create("d", "door", 1, {"key": 0, "deep": {"a": 1}})
    return engine


def refusal(kind: type[Rejection], call: Any, *args: Any, **kwargs: Any) -> Rejection:
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is kind
    assert str(caught.value) == caught.value.message
    return caught.value


def context(db: MemoryEngine, instance_id: str = "d") -> Any:
    return json.loads(db.state.instances[instance_id].ctx)


def test_a_machine_is_registered_once(db: MemoryEngine) -> None:
    first = db.put_machine("m", 1, DOOR)
    checksum = db.state.get_machine("m", 1).checksum
    assert first == PutMachineResult("m", 1, checksum, True)
    length = len(db.log)
    assert db.put_machine("m", 1, DOOR, checksum.upper()) == PutMachineResult(
        "m", 1, checksum, False
    )
    assert len(db.log) == length
    other = {**DOOR, "initial": "open"}
    error = refusal(MachineVersionExists, db.put_machine, "m", 1, other)
    assert error.details["stored_checksum"] == checksum
    assert error.depends_on == db.state.get_machine("m", 1).offset


def test_a_wrong_checksum_is_refused(db: MemoryEngine) -> None:
    error = refusal(InvalidRequest, db.put_machine, "m", 1, DOOR, "ab")
    assert error.details["expected_checksum"] == "ab"


@pytest.mark.parametrize("version", [0, -1, 2**32, True, 1.0, "1", None])
def test_a_version_is_1_to_2_to_the_32_minus_1(db: MemoryEngine, version: object) -> None:
    refusal(InvalidRequest, db.put_machine, "m", version, DOOR)
    refusal(InvalidRequest, db.create, "i", "door", version)


def test_versions_are_limited_where_configured() -> None:
    db = MemoryEngine(EngineOptions(max_machine_versions=2))
    db.put_machine("m", 1, DOOR)
    db.put_machine("m", 2, DOOR)
    error = refusal(MachineVersionLimitExceeded, db.put_machine, "m", 3, DOOR)
    assert error.details == {"machine": "m", "limit": 2}
    assert error.depends_on == db.head
    db.put_machine("m", 2, DOOR)


def test_the_newest_version_is_the_one_registered_last(db: MemoryEngine) -> None:
    db.put_machine("door", 7, DOOR)
    db.put_machine("door", 3, DOOR)
    db.put_machine("door", 7, DOOR)  # a repeat registers nothing
    before = db.head
    snapshot = State.load(dump(db.state.freeze()))
    for state in (db.state, db.replayed(), snapshot):
        assert state.get_machine("door").version == 3
        assert [item.versions for item in state.list_machines()] == [[1, 3, 7]]
    db.put_machine("door", 5, DOOR)
    assert db.state.get_machine("door").version == 5
    db.rollback(before)
    assert db.state.get_machine("door").version == 3


def test_machines_are_found_by_version(db: MemoryEngine) -> None:
    db.put_machine("door", 3, DOOR)
    db.put_machine("door", 2, DOOR)
    result = get_machine_result(db.state.get_machine("door", 2))
    assert (result.machine, result.version) == ("door", 2)
    assert json.loads(bytes(result.definition))["transitions"][0]["from"] == ["closed"]
    error = refusal(MachineNotFound, db.state.get_machine, "door", 9)
    assert error.details == {"machine": "door", "version": 9}
    refusal(MachineNotFound, db.state.get_machine, "dor")
    items = db.state.list_machines()
    assert [(item.machine, item.versions) for item in items] == [("door", [1, 2, 3])]
    assert db.state.list_machines(0) == db.state.list_machines(5, 1) == []
    assert db.state.machine_count == 3
    assert db.state.last_machine_offset == db.head


def test_an_instance_begins_in_the_initial_state(db: MemoryEngine) -> None:
    result = db.create("i", "door", 1)
    assert result == CreateInstanceResult("i", "closed", db.head)
    instance = db.state.get_instance("i")
    assert (instance.created_at, instance.updated_at) == (db.now, db.now)
    view = get_instance_result(instance)
    assert (view.state, bytes(view.ctx), view.last_event_id) == ("closed", b"{}", None)
    assert db.create(None, "door", 1).instance_id == "generated-1"


def test_a_create_is_refused(db: MemoryEngine) -> None:
    error = refusal(InstanceExists, db.create, "d", "door", 1)
    assert error.details == {"instance_id": "d"}
    assert error.depends_on == db.state.instances["d"].created_offset
    refusal(MachineNotFound, db.create, "i", "gate", 1)
    assert refusal(MachineNotFound, db.create, "i", "door", 2).details["version"] == 2
    ctx: object
    for ctx in ([], "x", 1, False):
        refusal(InvalidRequest, db.create, "i", "door", 1, ctx)
    for name in ("", "x" * 257, "a\x00", "\ud800", 5):
        refusal(InvalidRequest, db.create, name, "door", 1)
        refusal(InvalidRequest, db.create, "i", "door", 1, {}, name)
    refusal(InvalidRequest, db.create, "i", "door", 1, {"x": 2**64})
    refusal(InvalidRequest, db.create, "i", "door", 1, {"x": 10**5000})
    refusal(InvalidRequest, db.apply, "d", "open", {"x": 10**5000})
    refusal(InvalidRequest, db.apply, "d", "open", {"x": 10**5000}, idempotency_key="k")
    refusal(InvalidRequest, db.create, "i", "door", 1, {"x": "\ud800"})


def test_an_event_moves_an_instance_and_merges_its_payload(db: MemoryEngine) -> None:
    db.now += 5
    result = db.apply("d", "open", {"deep": {"b": 2}, "n": None}, event_id="e1")
    assert isinstance(result, ApplyEventResult)
    assert (result.from_state, result.to_state, result.applied) == ("closed", "open", True)
    assert (result.wal_offset, result.event_id) == (db.head, "e1")
    assert json.loads(bytes(result.ctx)) == {"key": 0, "deep": {"b": 2}, "n": None}
    instance = db.state.get_instance("d")
    assert instance.updated_at == db.now == instance.created_at + 5
    assert (instance.last_event_id, instance.last_wal_offset) == ("e1", db.head)
    db.apply("d", "close")
    assert db.state.get_instance("d").last_event_id is None
    assert context(db) == {"key": 0, "deep": {"b": 2}, "n": None}


def test_guards_see_the_context_before_the_payload_and_are_tried_in_order(
    db: MemoryEngine,
) -> None:
    error = refusal(GuardFailed, db.apply, "d", "lock", {"key": 1})
    assert error.details["guard"] == "ctx.key == 1"
    assert error.details["guards"] == ["ctx.key == 1", "ctx.key == 2"]
    db.apply("d", "close", {"key": 2})
    assert db.apply("d", "lock").to_state == "open"
    db.apply("d", "close", {"key": 1})
    assert db.apply("d", "lock").to_state == "locked"


def test_a_single_failing_guard_is_named(db: MemoryEngine) -> None:
    db.apply("d", "open")
    error = refusal(GuardFailed, db.apply, "d", "lock")
    assert error.details == {"guard": "ctx.key", "current_state": "open", "event": "lock"}
    assert error.depends_on == db.head


def test_an_event_without_a_transition_is_refused_with_what_is_allowed(db: MemoryEngine) -> None:
    error = refusal(InvalidTransition, db.apply, "d", "burn")
    assert error.details == {
        "current_state": "closed",
        "event": "burn",
        "allowed_events": ["close", "lock", "open"],
    }
    assert error.depends_on == db.head
    refusal(InvalidRequest, db.apply, "d", "")
    assert db.state.allowed_events(db.state.get_instance("d")) == ["close", "lock", "open"]


def test_what_a_client_expects_is_checked(db: MemoryEngine) -> None:
    error = refusal(Conflict, db.apply, "d", "open", expected_state="open")
    assert error.details == {"expected_state": "open", "actual_state": "closed"}
    error = refusal(Conflict, db.apply, "d", "open", expected_wal_offset=7)
    assert error.details == {"expected_wal_offset": 7, "actual_wal_offset": db.head}
    assert error.depends_on == db.head
    db.apply("d", "open", expected_state="closed", expected_wal_offset=db.head)


def test_the_checks_of_an_event_come_in_the_order_of_the_spec(db: MemoryEngine) -> None:
    db.apply("d", "close", {"key": 0}, idempotency_key="k")
    wrong: dict[str, Any] = {"expected_state": "x", "expected_wal_offset": 1}
    refusal(Conflict, db.apply, "d", "burn", idempotency_key="k", **wrong)
    refusal(InstanceNotFound, db.apply, "gone", "burn", **wrong)
    assert "expected_state" in refusal(Conflict, db.apply, "d", "burn", **wrong).details
    del wrong["expected_state"]
    assert "expected_wal_offset" in refusal(Conflict, db.apply, "d", "burn", **wrong).details
    refusal(InvalidTransition, db.apply, "d", "burn", {"x": "y" * 2_000_000})
    refusal(GuardFailed, db.apply, "d", "lock", {"x": "y" * 2_000_000})
    refusal(InvalidRequest, db.apply, "d", "open", {"x": "y" * 2_000_000})


@pytest.mark.parametrize("payload", [[], "x", 1, True, [["a", 1]]])
def test_a_payload_that_is_no_object_is_refused(db: MemoryEngine, payload: object) -> None:
    refusal(InvalidRequest, db.apply, "d", "open", payload)


def test_size_and_depth_of_a_context_are_bounded() -> None:
    db = MemoryEngine(EngineOptions(max_ctx_bytes=1000))
    db.put_machine("door", 1, DOOR)
    db.create("d", "door", 1, {"a": "x" * 500})
    error = refusal(InvalidRequest, db.apply, "d", "open", {"b": "y" * 500})
    assert error.details == {"size_bytes": 1015, "limit": 1000}
    assert error.depends_on == db.head
    db.apply("d", "open", {"b": "y" * 485})
    db.apply("d", "close", {"a": None, "b": "z" * 900})
    refusal(InvalidRequest, db.create, "e", "door", 1, {"a": "x" * 1000})


def nested(levels: int) -> Any:
    value: Any = {}
    for level in range(levels - 1):
        value = {"a": value} if level % 2 else [value]
    return value if isinstance(value, dict) else {"a": value[0]}


def test_nesting_is_bounded_at_128_levels(db: MemoryEngine) -> None:
    db.create("ok", "door", 1, nested(128))
    refusal(InvalidRequest, db.create, "deep", "door", 1, nested(130))
    refusal(InvalidRequest, db.apply, "d", "open", nested(130))
    refusal(InvalidRequest, db.apply, "d", "open", nested(100_000))
    db.apply("d", "open", {"wide": [[] for _ in range(1000)]})


def test_a_deleted_instance_is_gone_but_its_id_stays_taken(db: MemoryEngine) -> None:
    result = db.delete("d")
    assert result == DeleteInstanceResult("d", True, db.head)
    offset = db.head
    assert db.delete("d") == result
    assert db.head == offset
    for call in (db.state.get_instance, lambda i: db.apply(i, "open")):
        error = refusal(InstanceNotFound, call, "d")
        assert error.details == {"instance_id": "d"}
        assert error.depends_on == offset
    assert refusal(InstanceExists, db.create, "d", "door", 1).depends_on == offset
    assert db.state.list_instances() == ([], 0, False)
    assert refusal(InstanceNotFound, db.delete, "never").depends_on == 0


def test_a_tombstone_lasts_for_the_retention(db: MemoryEngine) -> None:
    db.delete("d")
    db.now += 86_400_000 - 1
    refusal(InstanceExists, db.create, "d", "door", 1)
    db.now += 1
    refusal(InstanceNotFound, db.delete, "d")
    db.create("d", "door", 1, {"new": True})
    assert context(db) == {"new": True}
    assert not db.state.tombstones.queue
    assert db.replayed().digest() == db.state.digest()


def test_time_never_runs_backwards(db: MemoryEngine) -> None:
    db.apply("d", "open")
    before = db.now
    db.now -= 3_600_000
    db.apply("d", "close")
    assert db.state.get_instance("d").updated_at == before
    assert db.state.last_timestamp == before


def test_flush_all_empties_the_database(db: MemoryEngine) -> None:
    db.apply("d", "open", idempotency_key="k")
    db.create("e", "door", 1)
    db.delete("e")
    assert db.flush_all() == FlushAllResult(True, 1, 1)
    assert db.state.list_machines() == []
    assert db.state.list_instances() == ([], 0, False)
    error = refusal(MachineNotFound, db.create, "e", "door", 1)
    assert error.depends_on == db.head == db.state.last_flush_all
    db.put_machine("door", 1, DOOR)
    db.create("d", "door", 1)
    assert db.apply("d", "open", idempotency_key="k").applied
    assert db.replayed().digest() == db.state.digest()


def test_an_instance_of_an_unregistered_machine_lists_and_waits_for_it(db: MemoryEngine) -> None:
    del db.log[0]
    state = db.replayed()
    assert [i.id for i in state.list_instances("door", "closed")[0]] == ["d"]
    assert state.allowed_events(state.instances["d"]) == []
    orphaned = MemoryEngine()
    orphaned.state = state
    orphaned.head = db.head
    assert refusal(MachineNotFound, orphaned.apply, "d", "open").details["machine"] == "door"
    orphaned.put_machine("door", 1, DOOR)
    assert orphaned.apply("d", "open").to_state == "open"


def test_values_that_only_python_has_are_refused_or_read_back(db: MemoryEngine) -> None:
    refusal(InvalidRequest, db.apply, "d", "open", {"x": object()})
    refusal(InvalidRequest, db.create, "x", "door", 1, {"x": object()})
    odd = {5: "five", "nan": float("nan"), "t": (1, 2)}
    db.apply("d", "open", odd, idempotency_key="k")
    assert not db.apply("d", "open", odd, idempotency_key="k").applied
    assert db.replayed().digest() == db.state.digest()
    refusal(InvalidRequest, db.put_machine, "m", 1, {5: 1})


def test_a_refusal_that_names_the_versions_waits_for_the_newest_of_them(db: MemoryEngine) -> None:
    db.put_machine("door", 2, DOOR)
    for call in (lambda: db.create("e", "door", 3), lambda: db.state.get_machine("door", 3)):
        assert refusal(MachineNotFound, call).depends_on == db.head
