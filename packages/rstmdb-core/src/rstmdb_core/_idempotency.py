"""How a request is known again.

A key is scoped to (operation kind, instance id), for a create without an id to (kind, machine).
What is remembered is enough to answer a repeat and to tell it from another request under the
same key: a fingerprint over the canonical JSON of what the request asked for.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from ._entries import ApplyEvent, CreateInstance, DeleteInstance
from ._instance import Instance
from ._values import canonical_json


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a request with an idempotency key.

    `key` is the scoped key, `offset` and `timestamp` (Unix milliseconds) are its entry's. The rest
    is its result: the state before and after (for a create only after), the context as JSON (events
    only) and the event id.
    """

    key: str
    fingerprint: bytes
    offset: int
    timestamp: int
    instance_id: str
    from_state: str = ""
    to_state: str = ""
    ctx: bytes = b""
    event_id: str | None = None

    @property
    def size(self) -> int:
        """What the result takes, in bytes: the limit on bytes is one on results.

        The scoped key, the context and the event id. What every key takes beside them is bounded by
        the limit on their number.
        """
        return len(self.key) + len(self.ctx) + len(self.event_id or "")


# Names hold no control characters, so NUL cannot be part of one.
def create_key(instance_id: str | None, machine: str, key: str) -> str:
    """Return the scoped key of a CREATE_INSTANCE; `instance_id` None when it was generated."""
    if instance_id is None:
        return f"create\0machine\0{machine}\0{key}"
    return f"create\0id\0{instance_id}\0{key}"


def apply_key(instance_id: str, key: str) -> str:
    """Return the scoped key of an APPLY_EVENT."""
    return f"apply\0{instance_id}\0{key}"


def delete_key(instance_id: str, key: str) -> str:
    """Return the scoped key of a DELETE_INSTANCE."""
    return f"delete\0{instance_id}\0{key}"


def create_fingerprint(machine: str, version: int, initial_ctx: dict[str, Any]) -> bytes:
    """Return what tells one CREATE_INSTANCE from another."""
    return _digest([machine, version, initial_ctx])


def apply_fingerprint(event: str, payload: dict[str, Any] | None) -> bytes:
    """Return what tells one APPLY_EVENT from another; no payload is as good as an empty one."""
    return _digest([event, payload or {}])


DELETE_FINGERPRINT: Final = b""
"""All deletes of an instance ask for the same."""


def remember_create(entry: CreateInstance, instance: Instance) -> Remembered:
    """Return what to keep of a create that carries a key; `instance` is what it made."""
    scope = None if entry.id_generated else entry.instance_id
    return Remembered(
        create_key(scope, entry.machine, entry.idempotency_key or ""),
        create_fingerprint(entry.machine, entry.version, entry.initial_ctx),
        instance.created_offset,
        instance.created_at,
        instance.id,
        to_state=instance.state,
    )


def remember_apply(
    entry: ApplyEvent, instance: Instance, to_state: str, ctx: bytes, offset: int, now: int
) -> Remembered:
    """Return what to keep of an event that carries a key; `instance` is what it was before."""
    # The strings that the state holds already, not those that each entry is decoded with.
    known = instance.state
    return Remembered(
        apply_key(instance.id, entry.idempotency_key or ""),
        apply_fingerprint(entry.event, entry.payload),
        offset,
        now,
        instance.id,
        known if entry.from_state == known else entry.from_state,
        to_state,
        ctx,
        entry.event_id,
    )


def remember_delete(entry: DeleteInstance, offset: int, now: int) -> Remembered:
    """Return what to keep of a delete that carries a key."""
    key = delete_key(entry.instance_id, entry.idempotency_key or "")
    return Remembered(key, DELETE_FINGERPRINT, offset, now, entry.instance_id)


def _digest(value: object) -> bytes:
    return hashlib.blake2b(canonical_json(value), digest_size=16).digest()
