"""What each kind of entry does to the state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._aging import Aging
from ._entries import (
    ApplyEvent,
    Checkpoint,
    CreateInstance,
    DeleteInstance,
    Entry,
    FlushAll,
    PutMachine,
    SnapshotMark,
)
from ._errors import InvalidRequest
from ._idempotency import remember_apply, remember_create, remember_delete
from ._instance import Instance, Tombstone
from ._instance_map import InstanceMap
from ._journal import (
    Step,
    added_instance,
    added_machine,
    added_tombstone,
    changed_limits,
    flushed,
    freed_tombstone,
    removed_instance,
    replaced_instance,
)
from ._machine import Machine, load_machine
from ._retention import pass_time, remember, sweep, trim

if TYPE_CHECKING:
    from ._state import State

_encode_json = msgspec.json.Encoder().encode


def evolve_apply(state: State, entry: ApplyEvent, offset: int) -> None:
    """Move an instance. The hot path: no call that a small event does not need."""
    prepared = entry is state.prepared_for
    instance = state.prepared_instance if prepared else state.instances.get(entry.instance_id)
    if instance is None or offset <= instance.last_wal_offset:
        reason = "event already applied" if instance else "event of no instance"
        _ignore(state, entry, offset, reason)
        return
    now = entry.timestamp
    before = state.last_timestamp
    steps: list[Step] | None = None
    if now <= before:
        now = before
    else:
        state.last_timestamp = now
        if now >= state.sweep_at or not state.epoch:
            steps = pass_time(state, now)
    ctx: bytes = state.prepared if prepared else _encode_json(entry.ctx)
    old_state = instance.state
    to_state = entry.to_state
    machine = instance.machine
    if to_state == old_state:
        to_state = old_state
        entered = instance.state_offset
    else:
        by_state = state.groups[machine].by_state
        target = by_state.get(to_state)
        if target is None:
            target = state.groups[machine].state_index(sys.intern(to_state))
        by_state[old_state].discard(instance.state_offset, instance.id)
        target.add(offset, instance.id)  # that one string is kept already
        to_state = target.name
        entered = offset
    state.instances.put(
        Instance(
            instance.id,
            machine,
            instance.version,
            to_state,
            ctx,
            entry.event_id,
            offset,
            instance.created_at,
            now,
            instance.created_offset,
            entered,
        )
    )
    if entry.idempotency_key is not None:
        record = remember_apply(entry, instance, to_state, ctx, offset, now)
        steps = remember(state, record, steps)
    journal = state.journal
    if journal is not None:
        touched = state.touched.get(machine, 0)
        last = state.last_offset
        journal.append((offset, before, last, machine, touched, replaced_instance, instance, steps))
    state.touched[machine] = offset
    state.last_offset = offset
    state.prepared_for = None  # true only of the state that it was worked out for


def _create(state: State, entry: CreateInstance, offset: int) -> None:
    """Make an instance. What recovery does most, so with few calls, too."""
    instance_id = entry.instance_id
    instances = state.instances
    if instance_id in instances:
        _ignore(state, entry, offset, "create of a living id")
        return
    now = entry.timestamp
    before = state.last_timestamp
    steps: list[Step] | None = None
    if now <= before:
        now = before
    else:
        state.last_timestamp = now
        if now >= state.sweep_at or not state.epoch:
            steps = pass_time(state, now)
    tombstones = state.tombstones.by_key
    if tombstones:
        tombstone = tombstones.pop(instance_id, None)
        if tombstone is not None:
            steps = [*(steps or ()), (freed_tombstone, tombstone)]
    ctx: bytes = state.prepared if entry is state.prepared_for else _encode_json(entry.initial_ctx)
    group = state.groups.get(entry.machine)
    if group is None:
        group = state.group(sys.intern(entry.machine))
    there = group.by_state.get(entry.initial_state)
    if there is None:
        there = group.state_index(sys.intern(entry.initial_state))
    instance = Instance(
        instance_id,
        group.name,
        entry.version,
        there.name,
        ctx,
        None,
        offset,
        now,
        now,
        offset,
        offset,
    )
    instances.put(instance)
    state.everything.add(offset, instance_id)
    group.instances.add(offset, instance_id)
    there.add(offset, instance_id)
    if entry.idempotency_key is not None:
        steps = remember(state, remember_create(entry, instance), steps)
    name = group.name
    journal = state.journal
    if journal is not None:
        touched = state.touched.get(name, 0)
        last = state.last_offset
        journal.append((offset, before, last, name, touched, added_instance, instance, steps))
    state.touched[name] = offset
    state.last_offset = offset
    state.prepared_for = None  # true only of the state that it was worked out for


def _delete(state: State, entry: DeleteInstance, offset: int) -> None:
    instance = state.instances.get(entry.instance_id)
    if instance is None or offset <= instance.last_wal_offset:
        _ignore(state, entry, offset, "delete of no instance")
        return
    before, now, steps = _begin(state, entry.timestamp)
    state.displace(instance)
    tombstone = Tombstone(
        instance.id,
        instance.machine,
        instance.version,
        offset,
        now,
        instance.state,
        instance.created_offset,
        instance.state_offset,
    )
    steps.append((added_tombstone, (tombstone, state.tombstones.add(tombstone))))
    if entry.idempotency_key is not None:
        steps = remember(state, remember_delete(entry, offset, now), steps)
    trim(state, steps)
    _finish(state, offset, before, instance.machine, steps, (removed_instance, instance))


def _put_machine(state: State, entry: PutMachine, offset: int) -> None:
    group = state.groups.get(entry.machine)
    if group is not None and entry.version in group.versions:
        _ignore(state, entry, offset, "put of a registered machine version")
        return
    if entry.definition is None:
        _ignore(state, entry, offset, "machine without a definition")
        return
    name = sys.intern(entry.machine)
    try:
        machine = (
            Machine(name, entry.version, offset, state.prepared)
            if entry is state.prepared_for
            else load_machine(name, entry.version, entry.definition, offset)
        )
    except InvalidRequest:
        _ignore(state, entry, offset, "machine with an unreadable definition")
        return
    before, _, steps = _begin(state, entry.timestamp)
    state.group(name).versions[entry.version] = machine
    _finish(state, offset, before, name, steps, (added_machine, machine))


def _checkpoint(state: State, entry: Checkpoint, offset: int) -> None:
    before, now, steps = _begin(state, entry.timestamp)
    if entry.limits is not None and entry.limits != state.limits:
        steps.append((changed_limits, state.limits))
        state.limits = entry.limits
        state.schedule_sweep()
        if now >= state.sweep_at:
            steps += sweep(state, now)
    _finish(state, offset, before, None, steps)


def _snapshot(state: State, entry: SnapshotMark, offset: int) -> None:
    before, _, steps = _begin(state, entry.timestamp)
    _finish(state, offset, before, None, steps)


def _flush_all(state: State, entry: FlushAll, offset: int) -> None:
    before, _, steps = _begin(state, entry.timestamp)
    old = (
        state.instances,
        state.tombstones,
        state.keys,
        state.groups,
        state.everything,
        state.touched,
        state.last_flush_all,
        state.flushed,
    )
    state.flushed = (len(state.instances), sum(len(g.versions) for g in state.groups.values()))
    state.instances = InstanceMap()
    state.tombstones = Aging()
    state.keys = Aging()
    state.groups = {}
    state.everything = type(state.everything)("")
    state.touched = {}
    state.last_flush_all = offset
    state.schedule_sweep()
    _finish(state, offset, before, None, steps, (flushed, old))


EVOLVE: Final[dict[type[Entry], Callable[[State, Any, int], None]]] = {
    PutMachine: _put_machine,
    CreateInstance: _create,
    ApplyEvent: evolve_apply,
    DeleteInstance: _delete,
    SnapshotMark: _snapshot,
    Checkpoint: _checkpoint,
    FlushAll: _flush_all,
}


def _begin(state: State, timestamp: int) -> tuple[int, int, list[Step]]:
    """Let time pass; return the time before, the entry's time, and what that did."""
    before = state.last_timestamp
    if timestamp <= before:
        return before, before, []
    state.last_timestamp = timestamp
    if timestamp >= state.sweep_at or not state.epoch:
        return before, timestamp, pass_time(state, timestamp)
    return before, timestamp, []


def _finish(
    state: State,
    offset: int,
    before: int,
    machine: str | None,
    steps: list[Step],
    step: Step | None = None,
) -> None:
    touched = 0 if machine is None else state.touched.get(machine, 0)
    if state.journal is not None:
        if step is not None:
            steps.append(step)
        state.journal.append(
            (offset, before, state.last_offset, machine, touched, None, None, steps)
        )
    if machine is not None:
        state.touched[machine] = offset
    state.last_offset = offset
    state.prepared_for = None  # true only of the state that it was worked out for


def _ignore(state: State, entry: Entry, offset: int, reason: str) -> None:
    state.ignored[reason] += 1
    before, _, steps = _begin(state, entry.timestamp)
    _finish(state, offset, before, None, steps)
