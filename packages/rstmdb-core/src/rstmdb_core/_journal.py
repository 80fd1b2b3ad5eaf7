"""How to undo an entry that is not released.

A note is (offset, time before, last offset before, machine, that machine's `touched` before, step,
its argument, more steps). The one step in front keeps a plain event from needing a list; the list
is undone from its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ._instance import Instance, Tombstone

if TYPE_CHECKING:
    from ._entries import Limits
    from ._idempotency import Remembered
    from ._machine import Machine
    from ._state import State

Step: TypeAlias = tuple[Callable[["State", Any], None], Any]
Undo: TypeAlias = tuple[
    int,
    int,
    int,
    str | None,
    int,
    Callable[["State", Any], None] | None,
    Any,
    list[Step] | None,
]


def undo(state: State, note: Undo) -> None:
    """Put the state back to what it was before the note's entry."""
    _, timestamp, last_offset, machine, touched, step, argument, steps = note
    if step is not None:
        step(state, argument)
    if steps:
        for more, its_argument in reversed(steps):
            more(state, its_argument)
    if machine is not None:
        if touched:
            state.touched[machine] = touched
        else:
            state.touched.pop(machine, None)
    state.last_timestamp = timestamp
    if not timestamp:
        state.epoch = 0
    state.last_offset = last_offset
    state.schedule_sweep()


def replaced_instance(state: State, old: Instance) -> None:
    """Undo an event: put the former value back."""
    new = state.instances[old.id]
    state.instances.put(old)
    if new.state_offset != old.state_offset:
        by_state = state.groups[old.machine].by_state
        by_state[new.state].discard(new.state_offset, new.id)
        by_state[old.state].add(old.state_offset, old.id)


def added_instance(state: State, instance: Instance) -> None:
    """Undo a create."""
    state.displace(instance)


def removed_instance(state: State, instance: Instance) -> None:
    """Undo a delete."""
    state.place(instance)


def added_tombstone(state: State, pair: tuple[Tombstone, Tombstone | None]) -> None:
    """Undo the tombstone of a delete."""
    state.tombstones.undo_add(*pair)


def freed_tombstone(state: State, tombstone: Tombstone) -> None:
    """Undo that a create took the id of a deleted instance."""
    state.tombstones.by_key[tombstone.id] = tombstone


def added_key(state: State, pair: tuple[Remembered, Remembered | None]) -> None:
    """Undo that a key was remembered."""
    state.keys.undo_add(*pair)


def popped_keys(state: State, popped: list[tuple[Remembered, bool]]) -> None:
    """Undo that keys were let go."""
    for record, current in reversed(popped):
        state.keys.undo_pop(record, current)


def popped_tombstones(state: State, popped: list[tuple[Tombstone, bool]]) -> None:
    """Undo that tombstones were let go."""
    for record, current in reversed(popped):
        state.tombstones.undo_pop(record, current)


def added_machine(state: State, machine: Machine) -> None:
    """Undo the registration of a machine."""
    del state.groups[machine.name].versions[machine.version]


def changed_limits(state: State, limits: Limits) -> None:
    """Undo that other limits came into force."""
    state.limits = limits


def flushed(state: State, old: tuple[Any, ...]) -> None:
    """Undo that the database was emptied."""
    (
        state.instances,
        state.tombstones,
        state.keys,
        state.groups,
        state.everything,
        state.touched,
        state.last_flush_all,
        state.flushed,
    ) = old
