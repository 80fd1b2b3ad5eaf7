"""What the results of a SyncClient and of the embedded Database have in common.

They are named by what they hold, not by their classes: each side has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = [
    "AppliedAnswer",
    "CompactAnswer",
    "CreatedAnswer",
    "DeletedAnswer",
    "EventRow",
    "FlushedAnswer",
    "InstanceAnswer",
    "InstanceRow",
    "InstancesAnswer",
    "MachineAnswer",
    "MachineRow",
    "MachinesAnswer",
    "PutMachineAnswer",
    "ReachedAnswer",
    "RecordRow",
    "RecordsAnswer",
    "SnapshotAnswer",
    "WalStatsAnswer",
]


class PutMachineAnswer(Protocol):
    """`created` is False when the very same definition was stored already."""

    @property
    def machine(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def stored_checksum(self) -> str: ...
    @property
    def created(self) -> bool: ...


class MachineAnswer(Protocol):
    """A definition in normal form and its checksum."""

    @property
    def machine(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def definition(self) -> Mapping[str, Any]: ...
    @property
    def checksum(self) -> str: ...


class MachineRow(Protocol):
    """A machine and its versions, rising."""

    @property
    def machine(self) -> str: ...
    @property
    def versions(self) -> Sequence[int]: ...


class MachinesAnswer(Protocol):
    """Machines, sorted by name."""

    @property
    def items(self) -> Sequence[MachineRow]: ...


class CreatedAnswer(Protocol):
    """A new instance and the offset of its record."""

    @property
    def instance_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def wal_offset(self) -> int: ...


class InstanceAnswer(Protocol):
    """An instance as it is."""

    @property
    def machine(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def ctx(self) -> Mapping[str, Any]: ...
    @property
    def last_wal_offset(self) -> int: ...
    @property
    def last_event_id(self) -> str | None: ...


class InstanceRow(Protocol):
    """One row of a list; times in milliseconds since 1970, UTC."""

    @property
    def id(self) -> str: ...
    @property
    def machine(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def created_at(self) -> int: ...
    @property
    def updated_at(self) -> int: ...
    @property
    def last_wal_offset(self) -> int: ...


class InstancesAnswer(Protocol):
    """A page, the number of all matches, and whether more follow the page."""

    @property
    def instances(self) -> Sequence[InstanceRow]: ...
    @property
    def total(self) -> int: ...
    @property
    def has_more(self) -> bool: ...


class DeletedAnswer(Protocol):
    """The offset is that of the first deletion."""

    @property
    def instance_id(self) -> str: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def wal_offset(self) -> int: ...


class AppliedAnswer(Protocol):
    """The transition that was taken; `applied` is False for an idempotent repeat."""

    @property
    def from_state(self) -> str: ...
    @property
    def to_state(self) -> str: ...
    @property
    def ctx(self) -> Mapping[str, Any]: ...
    @property
    def wal_offset(self) -> int: ...
    @property
    def applied(self) -> bool: ...
    @property
    def event_id(self) -> str | None: ...


class ReachedAnswer(Protocol):
    """The awaited state, and the offset of the record since which it holds."""

    @property
    def instance_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def wal_offset(self) -> int: ...


class EventRow(Protocol):
    """One transition; without `include_ctx` its `ctx` is empty."""

    @property
    def instance_id(self) -> str: ...
    @property
    def machine(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def wal_offset(self) -> int: ...
    @property
    def from_state(self) -> str: ...
    @property
    def to_state(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def payload(self) -> Any: ...
    @property
    def ctx(self) -> Any: ...


class RecordRow(Protocol):
    """One log record; what the entry holds, each side shows in its own way."""

    @property
    def sequence(self) -> int: ...
    @property
    def offset(self) -> int: ...


class RecordsAnswer(Protocol):
    """A page of the log; `next_offset` is where the next page begins."""

    @property
    def records(self) -> Sequence[RecordRow]: ...
    @property
    def next_offset(self) -> int: ...


class WalStatsAnswer(Protocol):
    """Size and position of the log; `latest_offset` is the head."""

    @property
    def entry_count(self) -> int: ...
    @property
    def segment_count(self) -> int: ...
    @property
    def total_size_bytes(self) -> int: ...
    @property
    def latest_offset(self) -> int: ...


class SnapshotAnswer(Protocol):
    """A snapshot of one instance."""

    @property
    def instance_id(self) -> str: ...
    @property
    def snapshot_id(self) -> str: ...
    @property
    def wal_offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def checksum(self) -> str: ...


class CompactAnswer(Protocol):
    """What a compaction did."""

    @property
    def snapshots_created(self) -> int: ...
    @property
    def segments_deleted(self) -> int: ...
    @property
    def bytes_reclaimed(self) -> int: ...
    @property
    def total_snapshots(self) -> int: ...
    @property
    def wal_segments(self) -> int: ...


class FlushedAnswer(Protocol):
    """How much was removed."""

    @property
    def flushed(self) -> bool: ...
    @property
    def instances_removed(self) -> int: ...
    @property
    def machines_removed(self) -> int: ...
