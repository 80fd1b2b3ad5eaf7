"""Results as an embedded user sees them: with contexts decoded."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

import rstmdb_core as core

__all__ = ["ApplyResult", "InstanceView", "MachineView", "WatchEvent", "view"]

_decode = msgspec.json.Decoder().decode


class ApplyResult(Struct, frozen=True):
    """The transition that was taken; `applied` is False for an idempotent repeat."""

    from_state: str
    to_state: str
    ctx: dict[str, Any]
    wal_offset: int
    applied: bool
    event_id: str | None = None


class InstanceView(Struct, frozen=True):
    """An instance as it is; times in milliseconds since 1970, UTC."""

    instance_id: str
    machine: str
    version: int
    state: str
    ctx: dict[str, Any]
    last_wal_offset: int
    created_at: int
    updated_at: int
    last_event_id: str | None = None


class MachineView(Struct, frozen=True):
    """A definition in normal form and its SHA-256 in hex."""

    machine: str
    version: int
    definition: dict[str, Any]
    checksum: str


class WatchEvent(Struct, frozen=True):
    """One transition, as a watcher sees it."""

    instance_id: str
    machine: str
    version: int
    wal_offset: int
    from_state: str
    to_state: str
    event: str
    payload: dict[str, Any] | None
    ctx: dict[str, Any]


def view(result: Any) -> Any:
    """Decode what a result keeps encoded; other results are handed through."""
    kind = type(result)
    if kind is core.ApplyEventResult:
        return ApplyResult(
            result.from_state,
            result.to_state,
            _decode(result.ctx),
            result.wal_offset,
            result.applied,
            result.event_id,
        )
    if kind is core.GetInstanceResult:
        return InstanceView(
            result.instance_id,
            result.machine,
            result.version,
            result.state,
            _decode(result.ctx),
            result.last_wal_offset,
            result.created_at,
            result.updated_at,
            result.last_event_id,
        )
    if kind is core.GetMachineResult:
        return MachineView(
            result.machine, result.version, _decode(result.definition), result.checksum
        )
    return result
