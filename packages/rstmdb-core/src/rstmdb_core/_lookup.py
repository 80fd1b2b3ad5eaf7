"""Questions that are answered from the state as it is."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

from ._errors import InstanceNotFound, InvalidRequest, MachineNotFound
from ._results import MachineItem
from ._values import kind_of, shown

if TYPE_CHECKING:
    from ._index import Index
    from ._instance import Instance, Tombstone
    from ._machine import Machine
    from ._state import State

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 10_000
"""Instances in one page; a higher limit counts as this one."""
FAR: Final = 1000
"""Skipping more than this among several lists, whole chunks are looked over first."""


def get_instance(state: State, instance_id: str) -> Instance:
    """Return a living instance; raise InstanceNotFound."""
    instance = state.instances.get(instance_id)
    if instance is None:
        raise no_instance(state, instance_id)
    return instance


def get_machine(state: State, name: str, version: int | None = None) -> Machine:
    """Return a version of a machine, for None the newest; raise MachineNotFound.

    The newest is the one registered last, whatever its number.
    """
    group = state.groups.get(name)
    versions = group.versions if group is not None else {}
    if not versions:
        raise MachineNotFound(
            f"there is no machine {shown(name)}; register it with PUT_MACHINE",
            {"machine": name},
            state.last_flush_all,
        )
    if version is None:
        return versions[next(reversed(versions))]
    machine = versions.get(version)
    if machine is None:
        known = sorted(versions)
        listed = ", ".join(map(str, known[-10:])) + (" and older ones" if len(known) > 10 else "")
        raise MachineNotFound(
            f"machine {shown(name)} has no version {version}; it has {listed}",
            {"machine": name, "version": version},
            max(machine.offset for machine in versions.values()),  # the message lists them
        )
    return machine


def list_machines(state: State, limit: int | None = None, offset: int = 0) -> list[MachineItem]:
    """Return machine names with their versions, both sorted; `limit` None for all.

    Raises InvalidRequest for a negative limit or offset.
    """
    if limit is not None:
        _check_count(limit, "limit")
    _check_count(offset, "offset")
    names = sorted(name for name, group in state.groups.items() if group.versions)
    page = names[offset:] if limit is None else names[offset : offset + limit]
    return [MachineItem(name, sorted(state.groups[name].versions)) for name in page]


def allowed_events(state: State, instance: Instance) -> list[str]:
    """Return the events that the instance's state has transitions for, sorted."""
    group = state.groups[instance.machine]
    machine = group.versions.get(instance.version)
    return machine.events_of(instance.state) if machine is not None else []


def list_instances(
    state: State,
    machine: str | None = None,
    state_name: str | None = None,
    limit: int | None = None,
    offset: int = 0,
    after: str | None = None,
) -> tuple[list[Instance], int, bool]:
    """Return a page of instances, how many there are in all, and whether more follow the page.

    The order is that of creation, with `state_name` that of entry into the state. The page begins
    behind the instance `after`, then skips `offset` more. `limit` None is 100, and more than 10,000
    counts as 10,000.

    Raises InvalidRequest for a negative limit or offset and for an `after` that has no place in
    this list (it left the state), InstanceNotFound for one that is unknown.
    """
    limit = DEFAULT_PAGE if limit is None else limit
    _check_count(limit, "limit")
    _check_count(offset, "offset")
    limit = min(limit, MAX_PAGE)
    indexes = _indexes(state, machine, state_name)
    total = sum(index.count for index in indexes)
    position = -1 if after is None else _position(state, after, machine, state_name)
    ids = _walk(indexes, position, offset)
    page = list(islice(ids, limit))
    has_more = next(ids, None) is not None
    return state.instances.all_of(page), total, has_more


def list_depends_on(state: State, machine: str | None = None) -> int:
    """Return the offset of the latest entry that a list of instances or machines rests on."""
    if machine is None:
        return max(state.touched.values(), default=state.last_flush_all)
    return state.touched.get(machine, state.last_flush_all)


def no_instance(state: State, instance_id: str) -> InstanceNotFound:
    """Return the refusal for an id that no living instance has."""
    tombstone = state.tombstones.by_key.get(instance_id)
    if tombstone is not None:
        return InstanceNotFound(
            f"instance {shown(instance_id)} was deleted",
            {"instance_id": instance_id},
            tombstone.offset,
        )
    return InstanceNotFound(
        f"there is no instance {shown(instance_id)}",
        {"instance_id": instance_id},
        state.last_flush_all,
    )


def _indexes(state: State, machine: str | None, state_name: str | None) -> list[Index]:
    if machine is None:
        if state_name is None:
            return [state.everything]
        found = (group.by_state.get(state_name) for group in state.groups.values())
        return [index for index in found if index]
    group = state.groups.get(machine)
    if group is None:
        return []
    if state_name is None:
        return [group.instances]
    index = group.by_state.get(state_name)
    return [index] if index else []


def _walk(indexes: list[Index], position: int, skip: int) -> Iterator[str]:
    """Yield the ids behind a position but the first `skip`, however far that is."""
    if skip and position >= 0:
        skip += sum(index.rank(position) for index in indexes)
        position = -1
    if len(indexes) == 1:
        return indexes[0].skip(skip) if position < 0 else indexes[0].after(position)
    if skip > FAR:
        position = _far(indexes, skip)
        skip -= sum(index.rank(position) for index in indexes)
    merged = merge(*(index.items_after(position) for index in indexes))
    return (instance_id for _, instance_id in islice(merged, skip, None))


def _far(indexes: list[Index], skip: int) -> int:
    """Return a key with at most `skip` ids at it or before it, and not many less.

    All ids before a chunk's start are in chunks that start before. So where those have no more
    than `skip` in all, the key just before the start will do.
    """
    key = 0
    for start, size in sorted(piece for index in indexes for piece in index.pieces()):
        key = start - 1
        if size > skip:
            break
        skip -= size
    return key


def _position(state: State, after: str, machine: str | None, state_name: str | None) -> int:
    place: Instance | Tombstone | None = state.instances.get(after)
    if place is None:
        place = state.tombstones.by_key.get(after)
    if place is None:
        raise no_instance(state, after)
    if machine is not None and place.machine != machine:
        raise InvalidRequest(
            f"after: instance {shown(after)} is one of machine {shown(place.machine)},"
            f" not {shown(machine)}",
            {"instance_id": after},
            place.created_offset,
        )
    if state_name is None:
        return place.created_offset
    if place.state != state_name:
        raise InvalidRequest(
            f"after: instance {shown(after)} is no longer in state {shown(state_name)};"
            f" go on from another one or use offset",
            {"instance_id": after, "actual_state": place.state},
            place.state_offset,
        )
    return place.state_offset


def _check_count(value: object, what: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        shows = shown(value) if isinstance(value, int) else kind_of(value)
        raise InvalidRequest(f"{what} must be a number from 0 up, not {shows}", {"parameter": what})
