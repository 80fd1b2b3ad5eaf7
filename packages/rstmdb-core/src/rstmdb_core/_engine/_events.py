"""APPLY_EVENT."""

from __future__ import annotations

from typing import Any

import msgspec

from rstmdb_core._entries import ApplyEvent
from rstmdb_core._errors import Conflict, GuardFailed, InvalidTransition
from rstmdb_core._idempotency import apply_fingerprint, apply_key
from rstmdb_core._instance import Instance
from rstmdb_core._lookup import get_machine, no_instance
from rstmdb_core._machine import Candidate, Machine
from rstmdb_core._results import ApplyEventResult, Repeat
from rstmdb_core._state import State
from rstmdb_core._values import MAX_DEPTH, check_name, check_object, encode_context, shown

from ._instances import check_size, key_taken
from ._machines import EngineOptions

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_encode_json = msgspec.json.Encoder().encode


def apply_event(
    state: State,
    options: EngineOptions,
    now_ms: int,
    instance_id: str,
    event: str,
    payload: dict[str, Any] | None = None,
    expected_state: str | None = None,
    expected_wal_offset: int | None = None,
    event_id: str | None = None,
    idempotency_key: str | None = None,
) -> ApplyEvent | Repeat:
    """Move an instance along the first transition for the event whose guard holds.

    Raises, checked in this order: InvalidRequest (payload, key or event id), Conflict (the key
    belongs to another request), InstanceNotFound, Conflict (expected_state, then
    expected_wal_offset), MachineNotFound, InvalidTransition, GuardFailed, InvalidRequest (the
    context would be too large or too deep). Integers beyond 64 bits are refused by encode_entry.
    """
    if payload is not None and type(payload) is not dict:
        check_object(payload, "payload")
    if event_id is not None:
        check_name(event_id, "event_id")
    if idempotency_key is not None:
        repeat = _repeat(state, now_ms, instance_id, event, payload, idempotency_key)
        if repeat is not None:
            return repeat
    instance = state.instances.get(instance_id)
    if instance is None:
        check_name(instance_id, "instance_id")
        raise no_instance(state, instance_id)
    current = instance.state
    if expected_state is not None or expected_wal_offset is not None:
        _check_expected(instance, expected_state, expected_wal_offset)
    machine = state.groups[instance.machine].versions.get(instance.version)
    if machine is None:
        machine = get_machine(state, instance.machine, instance.version)
    try:
        candidates = machine.table[current][event]
    except KeyError:
        raise _no_transition(machine, instance, event) from None
    encoded = instance.ctx
    ctx = _decode_json(encoded)
    for to_state, guard, _ in candidates:  # noqa: B007 (the one that broke the loop is taken)
        if guard is None or guard(ctx):
            break
    else:
        raise _guard_failed(candidates, instance, event)
    if payload:
        ctx.update(payload)
        encoded = _encode(ctx, options, instance)
    last = state.last_timestamp
    entry = ApplyEvent(
        instance_id,
        event,
        current,
        to_state,
        payload,
        ctx,
        event_id,
        idempotency_key,
        max(last, now_ms),
        instance.machine,
        instance.version,
        instance.last_wal_offset,
    )
    state.prepared_for = entry
    state.prepared = encoded
    state.prepared_instance = instance
    return entry


def _encode(ctx: dict[str, Any], options: EngineOptions, instance: Instance) -> bytes:
    """Return the merged context as JSON; raise InvalidRequest where it is too deep or too large."""
    try:
        encoded = _encode_json(ctx)
    except (ValueError, RecursionError, TypeError):
        return encode_context(ctx, "payload")  # says what is wrong
    if len(encoded) > MAX_DEPTH:
        if encoded.count(b"{") + encoded.count(b"[") > MAX_DEPTH:
            encode_context(ctx, "payload")
        if len(encoded) > options.max_ctx_bytes:
            check_size(encoded, options, instance.last_wal_offset)
    return encoded


def _repeat(
    state: State,
    now_ms: int,
    instance_id: str,
    event: str,
    payload: dict[str, Any] | None,
    key: str,
) -> Repeat | None:
    check_name(key, "idempotency_key")
    known = state.remembered_at(apply_key(instance_id, key), max(now_ms, state.last_timestamp))
    if known is None:
        return None
    encode_context(payload or {}, "payload")  # refuses what the fingerprint would choke on
    if known.fingerprint != apply_fingerprint(event, payload):
        raise key_taken(key, known)
    return Repeat(
        ApplyEventResult(
            known.from_state,
            known.to_state,
            msgspec.Raw(known.ctx),
            known.offset,
            False,
            known.event_id,
        ),
        known.offset,
    )


def _check_expected(
    instance: Instance, expected_state: str | None, expected_wal_offset: int | None
) -> None:
    if expected_state is not None and expected_state != instance.state:
        raise Conflict(
            f"instance {shown(instance.id)} is in state {shown(instance.state)},"
            f" not {shown(expected_state)}",
            {"expected_state": expected_state, "actual_state": instance.state},
            instance.last_wal_offset,
        )
    if expected_wal_offset is not None and expected_wal_offset != instance.last_wal_offset:
        raise Conflict(
            f"instance {shown(instance.id)} was last changed at offset"
            f" {instance.last_wal_offset}, not {shown(expected_wal_offset)}",
            {
                "expected_wal_offset": expected_wal_offset,
                "actual_wal_offset": instance.last_wal_offset,
            },
            instance.last_wal_offset,
        )


def _no_transition(machine: Machine, instance: Instance, event: str) -> InvalidTransition:
    check_name(event, "event")
    allowed = machine.events_of(instance.state)
    listed = ", ".join(map(shown, allowed[:10])) + (", ..." if len(allowed) > 10 else "")
    hint = f"it takes {listed}" if allowed else "it takes none"
    return InvalidTransition(
        f"state {shown(instance.state)} has no transition for event {shown(event)}; {hint}",
        {"current_state": instance.state, "event": event, "allowed_events": allowed},
        instance.last_wal_offset,
    )


def _guard_failed(candidates: tuple[Candidate, ...], instance: Instance, event: str) -> GuardFailed:
    guards = [text for _, _, text in candidates]
    details: dict[str, object] = {
        "guard": guards[0],
        "current_state": instance.state,
        "event": event,
    }
    if len(guards) > 1:
        details["guards"] = guards
    which = shown(guards[0]) if len(guards) == 1 else f"none of {len(guards)} guards"
    verb = "does not hold" if len(guards) == 1 else "holds"
    return GuardFailed(
        f"event {shown(event)} in state {shown(instance.state)}: {which} {verb}"
        f" for instance {shown(instance.id)}",
        details,
        instance.last_wal_offset,
    )
