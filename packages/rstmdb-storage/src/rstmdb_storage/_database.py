"""The embedded database: the store behind a lock, with calls that wait until they are durable.

Threads share the syncs: whoever finds no flush running carries everything that is queued to
disk, and the others wait for it (group commit, with no thread of its own).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rstmdb_core as core
from rstmdb_core import Rejection
from rstmdb_wal import LogFailed
from rstmdb_wal.fs import FileSystem

from ._batch import Batch
from ._errors import BatchAborted, DatabaseClosed, WriteFailed
from ._open import open_store
from ._options import StorageOptions
from ._procedure import Durable, Procedure
from ._results import BackupResult, CompactResult, SnapshotInstanceResult, WalReadResult
from ._store import Answer, Feed, Store
from ._views import ApplyResult, InstanceView, MachineView, WatchEvent, view
from ._watch import Watch

__all__ = ["Database"]

TIMER_TICK_SECS = 0.005
"""How late a timed sync may be under every_ms."""


class Database:
    """A state machine database in this process; safe to share between threads.

    Open it with `Database.open(directory)` or `Database.open(":memory:")`, and close it, or
    use it as a context manager. Writes return when they are as safe as the fsync policy says.

    Refusals of commands are rstmdb_core.Rejection and its subclasses; everything else is
    rstmdb_storage.StorageError.
    """

    def __init__(self, store: Store, on_close: Callable[[], None]) -> None:
        self._store = store
        self._on_close = on_close
        self._condition = threading.Condition()
        self._maintenance = threading.Lock()
        self._flushing = False
        self._floors: list[int] = []
        """What was released at each rollback, by epoch."""
        self._closed = False
        self._worker: threading.Thread | None = None
        if store.options.log.policy.kind == "every_ms":
            threading.Thread(target=self._sync_in_time, name="rstmdb-sync", daemon=True).start()

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

    def batch(self, *, atomic: bool = False) -> Batch:
        """Collect commands in a `with` block and run them as one unit when it ends."""
        return Batch(self._run_batch, self._store, atomic=atomic)

    def flush_all(self) -> Any:
        """Empty the database, durably: machines, instances, keys and tombstones."""
        return self._run(self._store.flush_all)

    # -- log, watches, maintenance ----------------------------------------------------------

    def wal_read(self, from_offset: int = 0, limit: int | None = None) -> WalReadResult:
        """A page of the log. Raises OffsetGone below the oldest record kept."""
        self._check_open()
        return self._store.wal_read(from_offset, limit)

    def wal_stats(self) -> Any:
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
    ) -> Iterator[WatchEvent]:
        """Iterate over transitions as they are released, each exactly once, in log order.

        From `from_offset` on (0: the oldest kept), else those after this call. Ends after
        `timeout` seconds without an event, or when the database is closed.
        """
        with self._condition:
            self._check_open()
            position = self._store.log.head if from_offset is None else max(from_offset - 1, 0)
        return Watch(self, position, instance_id, machines, events, timeout)

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

    def close(self) -> None:
        """Sync, checkpoint, and give the directory up. Raises WriteFailed if that failed."""
        with self._maintenance, self._condition:
            if self._closed:
                return
            while self._flushing:
                self._condition.wait()
            self._closed = True
            self._condition.notify_all()
            try:
                self._store.close()
            finally:
                self._on_close()

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

    # -- waiting --------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed("the database is closed")

    def _run(self, command: Callable[..., Answer], *args: Any) -> Any:
        """Run a command, wait until what its answer rests on is released, and show it."""
        with self._condition:
            self._check_open()
            try:
                result, offset = command(*args)
            except Rejection as rejection:
                self._wait_released(rejection.depends_on)
                raise
            self._wait_released(offset)
            self._compact_if_due()
        return view(result)

    def _run_batch(self, commands: Sequence[Callable[[], Answer]], atomic: bool) -> list[Any]:
        with self._condition:
            self._check_open()
            try:
                results, offset = self._store.batch(commands, atomic=atomic)
            except BatchAborted as aborted:
                self._wait_released(aborted.depends_on)
                raise
            self._wait_released(offset)
            self._compact_if_due()
        return [view(result) for result in results]

    def _wait_released(self, offset: int) -> None:
        store = self._store
        log = store.log
        epoch = store.epoch
        while offset > log.released:
            if self._flushing:
                self._condition.wait()
            else:
                self._flush_once()
            if store.epoch != epoch:
                if offset > self._floors[epoch]:
                    raise WriteFailed(
                        f"the log could not be written: {log.failed or 'the disk is full'}",
                        final=log.failed is not None,
                    )
                return

    def _wait_durable(self, offset: int) -> None:
        store = self._store
        epoch = store.epoch
        while offset > store.log.durable:
            if self._flushing:
                self._condition.wait()
            else:
                self._flush_once(force_sync=True)
            if store.epoch != epoch and offset > self._floors[epoch]:
                raise WriteFailed("the log could not be synced", final=bool(store.log.failed))

    def wait_for_records(self, position: int, deadline: float | None) -> int | None:
        """The last released offset once it lies behind `position`; None when there is none.

        That is at the deadline (time.monotonic seconds) or when the database is closed.
        """
        with self._condition:
            while self._store.log.released <= position:
                if self._closed or self._store.log.failed is not None:
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._condition.wait(left)
            return self._store.log.released

    def read_events(self, from_offset: int, upto: int) -> tuple[Feed, int]:
        """See Store.read_events."""
        return self._store.read_events(from_offset, upto)

    def _flush_once(self, *, force_sync: bool = False) -> None:
        """Carry what is queued to disk; the lock is free while the disk works."""
        store = self._store
        try:
            flush = store.begin_flush(force_sync=force_sync)
        except LogFailed as error:
            raise WriteFailed(str(error), final=True) from error
        if flush is None:
            return
        self._flushing = True
        self._condition.release()
        try:
            flush.run()
        finally:
            self._condition.acquire()
            self._flushing = False
        result = store.end_flush(flush)
        if result.failed is not None:
            self._floors.append(result.released)
        self._condition.notify_all()

    def _sync_in_time(self) -> None:
        """Under every_ms: sync also when traffic stops."""
        while True:
            time.sleep(TIMER_TICK_SECS)
            with self._condition:
                if self._closed or self._store.log.failed is not None:
                    return
                due = self._store.log.sync_due_ms()
                if due is not None and due <= self._store.monotonic() and not self._flushing:
                    self._flush_once()

    # -- maintenance ----------------------------------------------------------------------

    def _drive(self, start: Callable[[], Procedure]) -> Any:
        """Run a procedure: blocking steps without the lock, everything else with it."""
        with self._maintenance, self._condition:
            self._check_open()
            procedure = start()
            try:
                step = next(procedure)
                while True:
                    try:
                        value = self._step(step)
                    except Exception as error:  # noqa: BLE001 (the procedure decides)
                        step = procedure.throw(error)
                    else:
                        step = procedure.send(value)
            except StopIteration as done:
                return done.value

    def _step(self, step: Durable | Callable[[], Any]) -> Any:
        if isinstance(step, Durable):
            return self._wait_durable(step.offset)
        self._condition.release()
        try:
            return step()
        finally:
            self._condition.acquire()

    def _compact_if_due(self) -> None:
        if self._worker is None and self._store.compaction_due():
            self._worker = threading.Thread(
                target=self._compact_by_itself, name="rstmdb-compact", daemon=True
            )
            self._worker.start()

    def _compact_by_itself(self) -> None:
        try:
            self.compact()
        except DatabaseClosed:
            pass
        except (WriteFailed, core.CoreError, OSError):
            self._store.note_compaction_failed()
        finally:
            self._worker = None
