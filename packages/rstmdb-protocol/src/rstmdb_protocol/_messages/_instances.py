"""Instance and event operations, and BATCH."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from ._types import Count, JsonObject, MachineVersion, Message, Offset

__all__ = [
    "ApplyEventParams",
    "ApplyEventResult",
    "BatchItem",
    "BatchOp",
    "BatchParams",
    "BatchResult",
    "CreateInstanceParams",
    "CreateInstanceResult",
    "DeleteInstanceParams",
    "DeleteInstanceResult",
    "GetInstanceParams",
    "GetInstanceResult",
    "InstanceSummary",
    "ListInstancesParams",
    "ListInstancesResult",
]


class CreateInstanceParams(Message, frozen=True):
    """A new instance; the server makes a UUID when no id is given."""

    machine: str
    version: MachineVersion
    instance_id: str | None = None
    initial_ctx: JsonObject | None = None
    idempotency_key: str | None = None


class CreateInstanceResult(Message, frozen=True):
    """The new instance and the offset of its first record."""

    instance_id: str
    state: str
    wal_offset: int


class GetInstanceParams(Message, frozen=True):
    """An instance by id."""

    instance_id: str


class GetInstanceResult(Message, frozen=True):
    """An instance as it is; times in milliseconds since 1970, UTC."""

    machine: str
    version: int
    state: str
    ctx: JsonObject
    last_wal_offset: int
    last_event_id: str | None = None
    instance_id: str | None = None
    created_at: int | None = None
    updated_at: int | None = None


class ListInstancesParams(Message, frozen=True):
    """A page of instances: `limit` 100 unless given, at most 10,000; `after` is an id."""

    machine: str | None = None
    state: str | None = None
    limit: Count | None = None
    offset: Count | None = None
    after: str | None = None


class InstanceSummary(Message, frozen=True):
    """One row of a list; times in milliseconds since 1970, UTC."""

    id: str
    machine: str
    version: int
    state: str
    created_at: int
    updated_at: int
    last_wal_offset: int


class ListInstancesResult(Message, frozen=True):
    """A page, the number of all matches, and whether more follow the page."""

    instances: list[InstanceSummary]
    total: int
    has_more: bool


class DeleteInstanceParams(Message, frozen=True):
    """The instance to delete."""

    instance_id: str
    idempotency_key: str | None = None


class DeleteInstanceResult(Message, frozen=True):
    """The offset is that of the first deletion."""

    instance_id: str
    deleted: bool
    wal_offset: int


class ApplyEventParams(Message, frozen=True, gc=False):
    """An event for an instance, with optional preconditions."""

    instance_id: str
    event: str
    payload: JsonObject | None = None
    expected_state: str | None = None
    expected_wal_offset: Offset | None = None
    event_id: str | None = None
    idempotency_key: str | None = None


class ApplyEventResult(Message, frozen=True):
    """The transition that was taken; `applied` is false for an idempotent repeat."""

    from_state: str
    to_state: str
    ctx: JsonObject
    wal_offset: int
    applied: bool
    event_id: str | None = None


class BatchOp(Message, frozen=True):
    """One operation of a batch, its params still encoded."""

    op: str
    params: Raw = Raw(b"{}")


class BatchParams(Message, frozen=True):
    """`atomic` (all or nothing) or `best_effort` (each on its own; the default)."""

    ops: list[BatchOp]
    mode: str | None = None


class BatchItem(Message, frozen=True, omit_defaults=False):
    """The outcome of one operation: `status` is ok or error, one of the others is null."""

    status: str
    result: Any = None
    error: JsonObject | None = None


class BatchResult(Message, frozen=True):
    """One item an operation, in their order."""

    results: list[BatchItem]
