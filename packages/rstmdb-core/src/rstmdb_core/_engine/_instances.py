"""CREATE_INSTANCE, DELETE_INSTANCE and FLUSH_ALL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rstmdb_core._entries import CreateInstance, DeleteInstance, FlushAll
from rstmdb_core._errors import Conflict, InstanceExists, InvalidRequest
from rstmdb_core._idempotency import Remembered, create_fingerprint, create_key, delete_key
from rstmdb_core._lookup import get_machine, no_instance
from rstmdb_core._results import CreateInstanceResult, DeleteInstanceResult, Repeat
from rstmdb_core._state import State
from rstmdb_core._values import check_name, check_object, encode_context, shown

from ._machines import EngineOptions, check_version


def create_instance(
    state: State,
    options: EngineOptions,
    now_ms: int,
    new_id: Callable[[], str],
    instance_id: str | None,
    machine: str,
    version: int,
    initial_ctx: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> CreateInstance | Repeat:
    """Create an instance in its machine's initial state; `new_id` names one that has no id.

    Raises InvalidRequest, Conflict (the key belongs to another request), MachineNotFound,
    InstanceExists (living, or deleted while its tombstone lasts).
    """
    if instance_id is not None:
        check_name(instance_id, "instance_id")
    check_name(machine, "machine")
    check_version(version)
    ctx = check_object(initial_ctx, "initial_ctx")
    encoded = encode_context(ctx, "initial_ctx")
    now = max(now_ms, state.last_timestamp)
    if idempotency_key is not None:
        check_name(idempotency_key, "idempotency_key")
        known = state.remembered_at(create_key(instance_id, machine, idempotency_key), now)
        if known is not None:
            if known.fingerprint != create_fingerprint(machine, version, ctx):
                raise key_taken(idempotency_key, known)
            result = CreateInstanceResult(known.instance_id, known.to_state, known.offset)
            return Repeat(result, known.offset)
    definition = get_machine(state, machine, version)
    check_size(encoded, options, 0)
    generated = instance_id is None
    if instance_id is None:
        instance_id = new_id()
    _refuse_taken(state, instance_id, now)
    entry = CreateInstance(
        instance_id,
        definition.name,
        version,
        definition.initial,
        ctx,
        idempotency_key,
        generated,
        now,
        0,
    )
    state.prepared_for, state.prepared = entry, encoded
    return entry


def delete_instance(
    state: State,
    options: EngineOptions,
    now_ms: int,
    instance_id: str,
    idempotency_key: str | None = None,
) -> DeleteInstance | Repeat:
    """Delete an instance; one that is deleted already is a Repeat while its tombstone lasts.

    Raises InvalidRequest (the key is no name) and InstanceNotFound.
    """
    now = max(now_ms, state.last_timestamp)
    if idempotency_key is not None:
        check_name(idempotency_key, "idempotency_key")
        known = state.remembered_at(delete_key(instance_id, idempotency_key), now)
        if known is not None:
            return Repeat(DeleteInstanceResult(instance_id, True, known.offset), known.offset)
    instance = state.instances.get(instance_id)
    if instance is None:
        tombstone = state.tombstone_at(instance_id, now)
        if tombstone is None:
            check_name(instance_id, "instance_id")
            raise no_instance(state, instance_id)
        return Repeat(DeleteInstanceResult(instance_id, True, tombstone.offset), tombstone.offset)
    return DeleteInstance(
        instance_id,
        idempotency_key,
        now,
        instance.machine,
        instance.version,
        instance.last_wal_offset,
    )


def flush_all(state: State, options: EngineOptions, now_ms: int) -> FlushAll:
    """Empty the database, keys and tombstones too."""
    return FlushAll(max(now_ms, state.last_timestamp))


def key_taken(key: str, known: Remembered) -> Conflict:
    """Return the refusal of a key that belongs to another request."""
    return Conflict(
        f"idempotency_key {shown(key)} was used for another request; use a new key",
        {"idempotency_key": key, "wal_offset": known.offset},
        known.offset,
    )


def check_size(encoded: bytes, options: EngineOptions, depends_on: int) -> None:
    """Raise InvalidRequest for a context over the configured size."""
    if len(encoded) > options.max_ctx_bytes:
        raise InvalidRequest(
            f"the context would be {len(encoded)} bytes of JSON;"
            f" at most {options.max_ctx_bytes} are allowed",
            {"size_bytes": len(encoded), "limit": options.max_ctx_bytes},
            depends_on,
        )


def _refuse_taken(state: State, instance_id: str, now: int) -> None:
    instance = state.instances.get(instance_id)
    if instance is not None:
        raise InstanceExists(
            f"there is an instance {shown(instance_id)} already",
            {"instance_id": instance_id},
            instance.created_offset,
        )
    tombstone = state.tombstone_at(instance_id, now)
    if tombstone is not None:
        raise InstanceExists(
            f"instance {shown(instance_id)} was deleted, and its id stays taken for a while;"
            f" use another id",
            {"instance_id": instance_id},
            tombstone.offset,
        )
