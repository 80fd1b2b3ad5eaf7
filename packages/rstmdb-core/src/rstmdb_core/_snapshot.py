"""A copy of the state taken in one step, and its form as plain blocks.

Sections are named lists of rows; rows hold strings, integers, bytes, booleans and None, so that any
encoding can carry them. A section may come in several blocks. Their order is that of `dump`; the
meaning of a row's places is the order of the class's fields, and FORMAT rises when that changes.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._aging import Aging
from ._entries import Limits
from ._errors import InvalidRequest, MalformedSnapshot
from ._idempotency import Remembered
from ._index import Index
from ._instance import Instance, Tombstone
from ._instance_map import InstanceMap
from ._machine import Machine, load_machine

if TYPE_CHECKING:
    from ._state import State

FORMAT: Final = 1
_ROWS: Final = 1000

Block = tuple[str, list[Any]]


class Frozen(msgspec.Struct, frozen=True, gc=False):
    """The state at `offset`, whatever happens to the live one from there on.

    To be dumped once. A rollback to before `offset` makes it worthless.
    """

    offset: int
    meta: list[Any]
    machines: list[Machine]
    instances: InstanceMap
    order: Iterator[str]
    tombstones: Iterator[Tombstone]
    keys: Iterator[Remembered]


def freeze(state: State) -> Frozen:
    """Return a copy of the state; takes less than a millisecond, all is shared until written to."""
    limits = state.limits
    return Frozen(
        state.last_offset,
        [
            FORMAT,
            state.last_offset,
            state.last_timestamp,
            state.last_flush_all,
            state.epoch,
            limits.idempotency_retention_ms,
            limits.idempotency_max_keys,
            limits.idempotency_max_bytes,
            dict(state.touched),
        ],
        list(state.machines.values()),
        state.instances.freeze(),
        state.everything.freeze(),
        state.tombstones.queue.freeze(),
        state.keys.queue.freeze(),
    )


def dump(frozen: Frozen) -> Iterator[Block]:
    """Yield the blocks of a frozen state, at most 1,000 rows each."""
    yield "meta", frozen.meta
    machines = sorted(frozen.machines, key=attrgetter("offset"))
    yield from _blocks("machines", machines, lambda m: (m.name, m.version, m.definition, m.offset))
    yield from _blocks("instances", map(frozen.instances.__getitem__, frozen.order), _instance_row)
    yield from _blocks("tombstones", frozen.tombstones, msgspec.structs.astuple)
    yield from _blocks("keys", frozen.keys, msgspec.structs.astuple)


def fill(state: State, blocks: Iterable[tuple[str, Sequence[Any]]]) -> None:
    """Fill an empty state from the blocks of a dump; lists have the same order.

    Instances may be given as rows or as Instance. Where the section meta is missing, the rest makes
    do: so instances of another origin can be brought in. Raises MalformedSnapshot, also for a
    section of unknown name.
    """
    instances: list[Instance] = []
    tombstones: list[Tombstone] = []
    keys: list[Remembered] = []
    try:
        for section, rows in blocks:
            if section == "instances":
                _read_instances(rows, instances)
            elif section == "keys":
                keys += map(_remembered, rows)
            elif section == "tombstones":
                tombstones += [Tombstone(*row) for row in rows]
            elif section == "machines":
                for name, version, definition, offset in rows:
                    _load_machine(state, name, version, definition, offset)
            elif section == "meta":
                _read_meta(state, rows)
            else:
                raise MalformedSnapshot(f"unknown section {section!r}")
    except (TypeError, ValueError, InvalidRequest, msgspec.MsgspecError) as error:
        raise MalformedSnapshot(f"a section does not read: {error}") from error
    _place_all(state, instances)
    state.keys = Aging(keys)
    state.tombstones = Aging(tombstones)
    for tombstone in tombstones:
        if tombstone.id in state.instances:
            state.tombstones.by_key.pop(tombstone.id, None)
    state.schedule_sweep()


def dump_instance(instance: Instance) -> Iterator[Block]:
    """Yield the one block that holds an instance, of the form that `dump` gives it."""
    yield "instances", [_instance_row(instance)]


def digest(state: State) -> str:
    """Return a SHA-256 in hex over all that a replay must rebuild: equal states, equal digests."""
    sha = hashlib.sha256()
    encode = msgspec.msgpack.Encoder(order="deterministic").encode
    for section, rows in dump(freeze(state)):
        sha.update(encode([section, rows]))
    return sha.hexdigest()


def _blocks(
    section: str, items: Iterable[Any], row: Callable[[Any], tuple[Any, ...]]
) -> Iterator[Block]:
    rest = iter(items)
    while block := [row(item) for item in islice(rest, _ROWS)]:
        yield section, block


def _instance_row(i: Instance) -> tuple[Any, ...]:
    return (
        i.id,
        i.machine,
        i.version,
        i.state,
        i.ctx,
        i.last_event_id,
        i.last_wal_offset,
        i.created_at,
        i.updated_at,
        i.created_offset,
        i.state_offset,
    )


def _read_instances(rows: Sequence[Any], into: list[Instance]) -> None:
    intern = sys.intern
    append = into.append
    if rows and isinstance(rows[0], Instance):
        rows = [_instance_row(instance) for instance in rows]
    for key, machine, version, state, ctx, event, last, created, updated, first, entered in rows:
        # Equal numbers become one object, as they were before the dump: 32 bytes each.
        append(
            Instance(
                key,
                intern(machine),
                version,
                intern(state),
                ctx,
                event,
                last,
                created,
                created if updated == created else updated,
                last if first == last else first,
                last if entered == last else first if entered == first else entered,
            )
        )


def _remembered(row: Sequence[Any]) -> Remembered:
    key, fingerprint, offset, timestamp, instance_id, from_state, to_state, ctx, event_id = row
    from_state, to_state = sys.intern(from_state), sys.intern(to_state)
    return Remembered(
        key, fingerprint, offset, timestamp, instance_id, from_state, to_state, ctx, event_id
    )


def _load_machine(state: State, name: str, version: int, definition: bytes, offset: int) -> None:
    name = sys.intern(name)
    machine = load_machine(name, version, msgspec.json.decode(definition), offset)
    state.group(name).versions[version] = machine


def _read_meta(state: State, meta: Sequence[Any]) -> None:
    if not meta or meta[0] != FORMAT:
        raise MalformedSnapshot(
            f"the dump has format {meta[0] if meta else None}; this version reads {FORMAT}"
        )
    _, offset, timestamp, flush_all, epoch, retention, max_keys, max_bytes, touched = meta
    state.last_offset = offset
    state.last_timestamp = timestamp
    state.last_flush_all = flush_all
    state.epoch = epoch
    state.limits = Limits(retention, max_keys, max_bytes)
    state.touched = {sys.intern(name): at for name, at in touched.items()}


def _place_all(state: State, instances: list[Instance]) -> None:
    """Build dict and indexes from the bottom: in order, so that nothing is inserted."""
    instances.sort(key=attrgetter("created_offset"))
    state.instances = InstanceMap(instances)
    if len(state.instances) != len(instances):
        raise MalformedSnapshot("an instance is there twice")
    state.everything = Index("", ((i.id, i.created_offset) for i in instances))
    if instances:
        state.last_offset = max(state.last_offset, max(i.last_wal_offset for i in instances))
    by_machine: dict[str, list[Instance]] = {}
    for instance in instances:
        by_machine.setdefault(instance.machine, []).append(instance)
    for name, members in by_machine.items():
        group = state.group(name)
        group.instances = Index(name, ((i.id, i.created_offset) for i in members))
        if name not in state.touched:
            state.touched[name] = max(i.last_wal_offset for i in members)
        members.sort(key=attrgetter("state_offset"))
        by_state: dict[str, list[Instance]] = {}
        for instance in members:
            by_state.setdefault(instance.state, []).append(instance)
        for state_name, there in by_state.items():
            group.by_state[state_name] = Index(state_name, ((i.id, i.state_offset) for i in there))
