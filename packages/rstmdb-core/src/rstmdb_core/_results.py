"""What operations answer, with the wire's fields in the wire's order (spec: protocol).

Contexts and definitions stay the JSON that they are kept as (`msgspec.Raw`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from ._entries import ApplyEvent, CreateInstance, DeleteInstance, Entry, FlushAll, PutMachine

if TYPE_CHECKING:
    from ._instance import Instance
    from ._machine import Machine
    from ._state import State


class PutMachineResult(msgspec.Struct, frozen=True, gc=False):
    """`created` is false when the same definition was there already."""

    machine: str
    version: int
    stored_checksum: str
    created: bool


class GetMachineResult(msgspec.Struct, frozen=True, gc=False):
    """`definition` is the normal form as JSON, `checksum` its SHA-256 in hex."""

    machine: str
    version: int
    definition: msgspec.Raw
    checksum: str


class MachineItem(msgspec.Struct, frozen=True, gc=False):
    """A machine name and its versions, rising."""

    machine: str
    versions: list[int]


class ListMachinesResult(msgspec.Struct, frozen=True, gc=False):
    """Machines sorted by name."""

    items: list[MachineItem]


class CreateInstanceResult(msgspec.Struct, frozen=True, gc=False):
    """The new instance's id and initial state, and the offset of its entry."""

    instance_id: str
    state: str
    wal_offset: int


class GetInstanceResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An instance; times in Unix milliseconds."""

    instance_id: str
    machine: str
    version: int
    state: str
    ctx: msgspec.Raw
    last_wal_offset: int
    created_at: int
    updated_at: int
    last_event_id: str | None = None


class InstanceItem(msgspec.Struct, frozen=True, gc=False):
    """An instance in a list; times in Unix milliseconds."""

    id: str
    machine: str
    version: int
    state: str
    created_at: int
    updated_at: int
    last_wal_offset: int


class ListInstancesResult(msgspec.Struct, frozen=True, gc=False):
    """A page; `total` counts all that the filter lets through."""

    instances: list[InstanceItem]
    total: int
    has_more: bool


class DeleteInstanceResult(msgspec.Struct, frozen=True, gc=False):
    """The offset is that of the entry that deleted it, also for a repeat."""

    instance_id: str
    deleted: bool
    wal_offset: int


class ApplyEventResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`applied` is false for the repeat of an idempotent request."""

    from_state: str
    to_state: str
    ctx: msgspec.Raw
    wal_offset: int
    applied: bool
    event_id: str | None = None


class FlushAllResult(msgspec.Struct, frozen=True, gc=False):
    """How many instances and machine versions there were."""

    flushed: bool
    instances_removed: int
    machines_removed: int


WriteResult: TypeAlias = (
    PutMachineResult
    | CreateInstanceResult
    | ApplyEventResult
    | DeleteInstanceResult
    | FlushAllResult
)


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """There is nothing to append: the request was carried out before.

    The result may be told once the entry at `depends_on` is released.
    """

    result: WriteResult
    depends_on: int


def put_machine_result(state: State, entry: PutMachine, offset: int) -> PutMachineResult:
    """Return the answer to a PUT_MACHINE whose entry was evolved."""
    return PutMachineResult(entry.machine, entry.version, entry.definition_hash, True)


def create_instance_result(
    state: State, entry: CreateInstance, offset: int
) -> CreateInstanceResult:
    """Return the answer to a CREATE_INSTANCE whose entry was evolved."""
    return CreateInstanceResult(entry.instance_id, entry.initial_state, offset)


def apply_event_result(state: State, entry: ApplyEvent, offset: int) -> ApplyEventResult:
    """Return the answer to an APPLY_EVENT whose entry was the last one evolved."""
    return ApplyEventResult(
        entry.from_state,
        entry.to_state,
        msgspec.Raw(state.instances[entry.instance_id].ctx),
        offset,
        True,
        entry.event_id,
    )


def delete_instance_result(
    state: State, entry: DeleteInstance, offset: int
) -> DeleteInstanceResult:
    """Return the answer to a DELETE_INSTANCE whose entry was evolved."""
    return DeleteInstanceResult(entry.instance_id, True, offset)


def flush_all_result(state: State, entry: FlushAll, offset: int) -> FlushAllResult:
    """Return the answer to a FLUSH_ALL whose entry was the last one evolved."""
    instances, machines = state.flushed
    return FlushAllResult(True, instances, machines)


_RESULTS: Final[dict[type[Entry], Callable[[State, Any, int], WriteResult]]] = {
    PutMachine: put_machine_result,
    CreateInstance: create_instance_result,
    ApplyEvent: apply_event_result,
    DeleteInstance: delete_instance_result,
    FlushAll: flush_all_result,
}


def result_of(state: State, entry: Entry, offset: int) -> WriteResult:
    """Return the answer to the request whose entry was the last one evolved, at its offset."""
    return _RESULTS[type(entry)](state, entry, offset)


def get_instance_result(instance: Instance) -> GetInstanceResult:
    """Return the answer to a GET_INSTANCE."""
    return GetInstanceResult(
        instance.id,
        instance.machine,
        instance.version,
        instance.state,
        msgspec.Raw(instance.ctx),
        instance.last_wal_offset,
        instance.created_at,
        instance.updated_at,
        instance.last_event_id,
    )


def get_machine_result(machine: Machine) -> GetMachineResult:
    """Return the answer to a GET_MACHINE."""
    return GetMachineResult(
        machine.name, machine.version, msgspec.Raw(machine.definition), machine.checksum
    )


def list_instances_result(page: tuple[list[Instance], int, bool]) -> ListInstancesResult:
    """Return the answer to a LIST_INSTANCES from what `list_instances` returned."""
    instances, total, has_more = page
    return ListInstancesResult(
        [
            InstanceItem(
                i.id, i.machine, i.version, i.state, i.created_at, i.updated_at, i.last_wal_offset
            )
            for i in instances
        ],
        total,
        has_more,
    )
