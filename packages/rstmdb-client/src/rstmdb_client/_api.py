"""What a SyncClient and the embedded Database have in common, for code that takes either.

What they return is in _answers. Errors differ: a refusal is a ServerError here and a Rejection
there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from ._answers import (
    AppliedAnswer,
    CompactAnswer,
    CreatedAnswer,
    DeletedAnswer,
    EventRow,
    FlushedAnswer,
    InstanceAnswer,
    InstancesAnswer,
    MachineAnswer,
    MachinesAnswer,
    PutMachineAnswer,
    ReachedAnswer,
    RecordsAnswer,
    SnapshotAnswer,
    WalStatsAnswer,
)
from ._wait import Decision

__all__ = ["BatchApi", "StateMachineDatabase", "WatchApi"]


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
