"""The embedded database: typed calls that return when they are as safe as the policy says."""

from __future__ import annotations

import time
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rstmdb_core as core
from rstmdb_wal.fs import FileSystem

from ._batch import Batch
from ._decide import Decision, decide_and_apply
from ._open import open_store
from ._options import StorageOptions
from ._results import (
    BackupResult,
    CompactResult,
    SnapshotInstanceResult,
    SnapshotResult,
    WalReadResult,
    WalStatsResult,
)
from ._store import Store
from ._views import ApplyResult, InstanceView, MachineView
from ._wait import Reached, wait_for_state
from ._waiting import Waiting
from ._watch import Wanted, Watch

__all__ = ["Database"]


class Database(Waiting):
    """A state machine database in this process; safe to share between threads.

    Open it with `Database.open(directory)` or `Database.open(":memory:")`, and close it, or
    use it as a context manager. Writes return when they are as safe as the fsync policy says.

    Refusals of commands are rstmdb_core.Rejection and its subclasses; everything else is
    rstmdb_storage.StorageError.
    """

    def __init__(self, store: Store, on_close: Callable[[], None]) -> None:
        super().__init__(store, on_close)
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        store.hold_back = self._oldest_watch

    @classmethod
    def open(
        cls,
        path: str | Path,
        options: StorageOptions | None = None,
        *,
        fs: FileSystem | None = None,
        clock: Callable[[], int] | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> Database:
        """Open a directory, creating it if need be, or `":memory:"`.

        `clock` gives milliseconds since 1970, `new_id` ids for instances without one. Raises
        DatabaseLocked, DatabaseDamaged and OSError.
        """
        store, close = open_store(
            path,
            options or StorageOptions(),
            fs=fs,
            clock=clock or (lambda: time.time_ns() // 1_000_000),
            monotonic=lambda: time.monotonic_ns() // 1_000_000,
            new_id=new_id or (lambda: str(uuid.uuid4())),
        )
        return cls(store, close)

    # -- machines -------------------------------------------------------------------------

    def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> core.PutMachineResult:
        """Register a definition; the same one again is no error (`created` is then False)."""
        result: core.PutMachineResult = self._run(
            self._store.put_machine, machine, version, definition, checksum
        )
        return result

    def get_machine(self, machine: str, version: int | None = None) -> MachineView:
        """One version of a machine, the newest when none is named."""
        found: MachineView = self._run(self._store.get_machine, machine, version)
        return found

    def list_machines(
        self, limit: int | None = None, offset: int | None = None
    ) -> core.ListMachinesResult:
        """Machines and their versions, sorted by name."""
        result: core.ListMachinesResult = self._run(self._store.list_machines, limit, offset)
        return result

    # -- instances and events -------------------------------------------------------------

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> core.CreateInstanceResult:
        """Create an instance in its machine's initial state."""
        result: core.CreateInstanceResult = self._run(
            self._store.create_instance,
            machine,
            version,
            instance_id,
            initial_ctx,
            idempotency_key,
        )
        return result

    def get_instance(self, instance_id: str) -> InstanceView:
        """An instance as it is now."""
        found: InstanceView = self._run(self._store.get_instance, instance_id)
        return found

    def list_instances(
        self,
        *,
        machine: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
    ) -> core.ListInstancesResult:
        """A page of instances, `limit` 100 unless given; `after` is the last id of a page."""
        result: core.ListInstancesResult = self._run(
            self._store.list_instances, machine, state, limit, offset, after
        )
        return result

    def delete_instance(
        self, instance_id: str, *, idempotency_key: str | None = None
    ) -> core.DeleteInstanceResult:
        """Delete an instance; its id stays taken for the idempotency retention."""
        result: core.DeleteInstanceResult = self._run(
            self._store.delete_instance, instance_id, idempotency_key
        )
        return result

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
    ) -> ApplyResult:
        """Apply an event: guards are evaluated, the payload is merged into the context."""
        applied: ApplyResult = self._run(
            self._store.apply_event,
            instance_id,
            event,
            payload,
            expected_state,
            expected_wal_offset,
            event_id,
            idempotency_key,
        )
        return applied

    def wait_for_state(
        self, instance_id: str, states: str | Collection[str], *, timeout: float | None = None
    ) -> Reached:
        """Wait until an instance reaches a state, or one of several; at once if it is there.

        States that are left again at once are seen as well. Raises WaitTimeout after `timeout`
        seconds (None: never), ValueError for states that the machine has not, and
        InstanceNotFound, also where the instance is deleted meanwhile.
        """
        return wait_for_state(self, instance_id, states, timeout)

    def decide_and_apply(
        self, instance_id: str, decide: Callable[[InstanceView], Decision], *, attempts: int = 16
    ) -> ApplyResult | None:
        """Apply the event that `decide` chooses for the instance as it is, and only then.

        `decide` gets the instance and returns an event, an event and its payload, or None for
        nothing to be done. Where another thread changed the instance in between, it is asked
        again, `attempts` times at most; so it should have no effects of its own. Raises Conflict
        when all attempts have met a conflict, and what `decide` raises.
        """
        return decide_and_apply(self, instance_id, decide, attempts)

    def batch(self, *, atomic: bool = False) -> Batch:
        """Collect commands in a `with` block and run them as one unit when it ends."""
        return Batch(self._run_batch, self._store, atomic=atomic)

    def flush_all(self) -> core.FlushAllResult:
        """Empty the database, durably: machines, instances, keys and tombstones."""
        result: core.FlushAllResult = self._run(self._store.flush_all)
        return result

    # -- log, watches, maintenance ----------------------------------------------------------

    def wal_read(self, from_offset: int = 0, limit: int | None = None) -> WalReadResult:
        """A page of the log. Raises OffsetGone below the oldest record kept."""
        self._check_open()
        return self._store.wal_read(from_offset, limit)

    def wal_stats(self) -> WalStatsResult:
        """Size and position of the log."""
        with self._condition:
            self._check_open()
            return self._store.wal_stats()

    def watch(
        self,
        *,
        instance_id: str | None = None,
        machines: Sequence[str] = (),
        events: Sequence[str] = (),
        from_offset: int | None = None,
        timeout: float | None = None,
    ) -> Watch:
        """Iterate over transitions as they are released, each exactly once, in log order.

        From `from_offset` on (0: the oldest kept), else those released after this call. Ends
        after `timeout` seconds without an event, or when the watch or the database is closed.
        While a watch lives, compaction keeps what it has not read, up to
        `CompactionOptions.max_watch_lag_bytes`; one that was overtaken raises OffsetGone, and
        so does a `from_offset` below the oldest kept.
        """
        wanted = Wanted(instance_id, machines, events=events)
        return self._begin_watch(wanted, from_offset, timeout)

    def watch_instance(
        self, instance_id: str, *, include_ctx: bool = True, from_offset: int | None = None
    ) -> Watch:
        """As `watch`, of one instance and without a timeout; as SyncClient has it.

        Raises InstanceNotFound, and so does the watch where the instance is deleted.
        """
        wanted = Wanted(instance_id, include_ctx=include_ctx, until_deleted=True)
        watch = self._begin_watch(wanted, from_offset or None)
        self.get_instance(instance_id)
        return watch

    def watch_all(
        self,
        *,
        machines: Sequence[str] | None = None,
        from_states: Sequence[str] | None = None,
        to_states: Sequence[str] | None = None,
        events: Sequence[str] | None = None,
        include_ctx: bool = True,
        from_offset: int | None = None,
    ) -> Watch:
        """As `watch`, with more filters and without a timeout; as SyncClient has it."""
        wanted = Wanted(
            None, machines or (), from_states or (), to_states or (), events or (), include_ctx
        )
        return self._begin_watch(wanted, from_offset)

    def _begin_watch(
        self, wanted: Wanted, from_offset: int | None, timeout: float | None = None
    ) -> Watch:
        with self._condition:
            self._check_open()
            if from_offset is None:
                position = self._store.log.released
            else:
                position = (from_offset or self._store.earliest_offset) - 1
            watch = Watch(self, position, wanted, timeout)
            self._watches.add(watch)
        return watch

    def _oldest_watch(self) -> int | None:
        positions = [watch.position for watch in self._watches if not watch.closed]
        return min(positions, default=None)

    def snapshot(self) -> SnapshotResult:
        """Write the whole state to a snapshot, from which the next start begins."""
        result: SnapshotResult = self._drive(self._store.snapshot)
        return result

    def snapshot_instance(self, instance_id: str) -> SnapshotInstanceResult:
        """Write one instance out in the format of a snapshot."""
        result: SnapshotInstanceResult = self._drive(
            lambda: self._store.snapshot_instance(instance_id)
        )
        return result

    def compact(self, *, force_snapshot: bool = False) -> CompactResult:
        """Take a snapshot and delete the segments that lie wholly before it."""
        result: CompactResult = self._drive(
            lambda: self._store.compact(force_snapshot=force_snapshot)
        )
        return result

    def backup(self, target: str | Path) -> BackupResult:
        """Make a consistent, verified copy at `target`, which must not exist, while serving."""
        path = Path(target).absolute()
        result: BackupResult = self._drive(lambda: self._store.backup(path.parent, path.name))
        return result

    def __enter__(self) -> Database:
        """The database itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
