"""What a SyncClient and the embedded Database have in common, for code that takes either.

The results are named by what they hold, not by their classes: each side has its own. Errors
differ, too: a refusal is a ServerError here and a Rejection there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from ._wait import Decision

__all__ = ["BatchApi", "StateMachineDatabase", "WatchApi"]


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


class WatchApi(Protocol):
    """Events in log order, each exactly once."""

    @property
    def next_offset(self) -> int | None:
        """The `from_offset` with which a new watch goes on behind this one."""

    def receive(self, timeout: float | None = None) -> EventRow:
        """The next event; a TimeoutError after `timeout` seconds without one."""

    def close(self) -> None:
        """End the watch."""

    def __iter__(self) -> Iterator[EventRow]: ...

    def __next__(self) -> EventRow: ...

    def __enter__(self) -> WatchApi: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


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


class BatchApi(Protocol):
    """Operations that are collected in a block and run as one when it ends."""

    @property
    def results(self) -> Sequence[Any]:
        """One result an operation; without `atomic`, the exception of a refused one."""

    def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> object:
        """Add the registration of a definition."""

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> object:
        """Add the creation of an instance."""

    def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: dict[str, Any] | None = None,
        *,
        expected_state: str | None = None,
        expected_wal_offset: int | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> object:
        """Add an event."""

    def delete_instance(self, instance_id: str, *, idempotency_key: str | None = None) -> object:
        """Add the deletion of an instance."""


class StateMachineDatabase(Protocol):
    """The methods that SyncClient and the embedded Database share."""

    def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> PutMachineAnswer:
        """Register a definition; the same again is no error."""

    def get_machine(self, machine: str, version: int | None = None) -> MachineAnswer:
        """One version of a machine, the newest when none is named."""

    def list_machines(self, limit: int | None = None, offset: int | None = None) -> MachinesAnswer:
        """Machines and their versions, sorted by name."""

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedAnswer:
        """Create an instance in its machine's initial state."""

    def get_instance(self, instance_id: str) -> InstanceAnswer:
        """An instance as it is."""

    def list_instances(
        self,
        *,
        machine: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
    ) -> InstancesAnswer:
        """A page of instances."""

    def delete_instance(
        self, instance_id: str, *, idempotency_key: str | None = None
    ) -> DeletedAnswer:
        """Delete an instance."""

    def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: dict[str, Any] | None = None,
        *,
        expected_state: str | None = None,
        expected_wal_offset: int | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> AppliedAnswer:
        """Apply an event."""

    def wait_for_state(
        self, instance_id: str, states: str | Collection[str], *, timeout: float | None = None
    ) -> ReachedAnswer:
        """Wait until an instance reaches a state; a TimeoutError after `timeout` seconds."""

    def decide_and_apply(
        self, instance_id: str, decide: Callable[[Any], Decision], *, attempts: int = 16
    ) -> AppliedAnswer | None:
        """Apply the event chosen for the instance as it is; ask again after a conflict."""

    def batch(self, *, atomic: bool = False) -> AbstractContextManager[BatchApi]:
        """Collect operations in a block and run them as one when it ends."""

    def watch_instance(
        self, instance_id: str, *, include_ctx: bool = True, from_offset: int | None = None
    ) -> WatchApi:
        """Watch one instance."""

    def watch_all(
        self,
        *,
        machines: Sequence[str] | None = None,
        from_states: Sequence[str] | None = None,
        to_states: Sequence[str] | None = None,
        events: Sequence[str] | None = None,
        include_ctx: bool = True,
        from_offset: int | None = None,
    ) -> WatchApi:
        """Watch all instances that pass the filters."""

    def wal_read(self, from_offset: int = 0, limit: int | None = None) -> RecordsAnswer:
        """A page of the log."""

    def wal_stats(self) -> WalStatsAnswer:
        """Size and position of the log."""

    def snapshot_instance(self, instance_id: str) -> SnapshotAnswer:
        """Write one instance out as a snapshot."""

    def compact(self, *, force_snapshot: bool = False) -> CompactAnswer:
        """Take a snapshot and delete the log segments before it."""

    def flush_all(self) -> FlushedAnswer:
        """Empty the database; a server must allow it."""

    def close(self) -> None:
        """Be done with it."""

    def __enter__(self) -> StateMachineDatabase: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
