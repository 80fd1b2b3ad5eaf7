"""How threads wait for a store: for the disk, for each other, for work that takes a while.

Threads share the syncs: whoever finds no flush running carries everything that is queued to
disk, and the others wait for it (group commit, with no thread of its own).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

import rstmdb_core as core
from rstmdb_core import Rejection
from rstmdb_wal import LogFailed

from ._commands import Answer
from ._errors import BatchAborted, DatabaseClosed, StorageError, WriteFailed
from ._procedure import Durable, Procedure
from ._store import Feed, Store
from ._views import view
from ._watch import Watch

__all__ = ["Waiting"]

logger = logging.getLogger("rstmdb.storage")

_SLOW_SECS: Final = 0.001
_SLOW_FLUSHES: Final = 1000


class Waiting:
    """A store behind one lock; every method may be called on any thread.

    The lock is held while commands are decided and free while the disk works.
    """

    def __init__(self, store: Store, on_close: Callable[[], None]) -> None:
        self._store = store
        self._on_close = on_close
        # The lock itself is taken where nobody has to be woken: half the price.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._maintenance = threading.Lock()
        self._flushing = False
        self._paused = 0  # threads that wait for the condition
        self._slow = 0  # flushes to come that free the lock, since one was slow
        self._closed = False
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None
        policy = store.options.log.policy
        if policy.kind == "every_ms":
            threading.Thread(
                target=self._sync_in_time, args=(policy.n,), name="rstmdb-sync", daemon=True
            ).start()

    def close(self) -> None:
        """Sync, checkpoint, and give the directory up. Raises WriteFailed if that failed."""
        with self._maintenance, self._condition:
            if self._closed:
                return
            while self._flushing:
                self._pause()
            self._closed = True
            self._closing.set()
            try:
                self._store.close()
            finally:
                self._condition.notify_all()
                self._on_close()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed("the database is closed")

    # -- commands -------------------------------------------------------------------------

    def _run(self, command: Callable[..., Answer], *args: Any) -> Any:
        """Run a command, wait until what its answer rests on is released, and show it."""
        store = self._store
        log = store.log
        with self._lock:
            if self._closed:
                self._check_open()
            try:
                result, offset = command(*args)
            except Rejection as rejection:
                self._wait_released(rejection.depends_on)
                raise
            if offset > log.released and (self._flushing or not self._write_in_place()):
                self._wait_released(offset)
            if store.appended >= store.look_at and self._worker is None and store.compaction_due():
                self._compact_soon()
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
            if self._worker is None and self._store.compaction_due():
                self._compact_soon()
        return [view(result) for result in results]

    # -- the disk -------------------------------------------------------------------------

    def _wait_released(self, offset: int) -> None:
        store = self._store
        log = store.log
        epoch = store.epoch
        while offset > log.released:
            if self._flushing:
                self._pause()
            elif not self._write_in_place():
                self._flush_once()
            if store.epoch != epoch:
                if offset > store.floors[epoch]:
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
                self._pause()
            else:
                self._flush_once(force_sync=True)
            if store.epoch != epoch and offset > store.floors[epoch]:
                raise WriteFailed("the log could not be synced", final=bool(store.log.failed))

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
        self._lock.release()
        try:
            flush.run()
        finally:
            self._lock.acquire()
            self._flushing = False
        store.end_flush(flush)
        if self._paused:
            self._condition.notify_all()

    def _write_in_place(self) -> bool:
        """Write without freeing the lock, where the disk is fast and no sync is due.

        A write that waits for the disk all the same makes readers wait once; the next ones
        free the lock.
        """
        if self._slow:
            self._slow -= 1
            return False
        began = perf_counter()
        try:
            if not self._store.write_in_place():
                return False
        except LogFailed as error:
            raise WriteFailed(str(error), final=True) from error
        if perf_counter() - began > _SLOW_SECS:
            self._slow = _SLOW_FLUSHES
        if self._paused:
            self._condition.notify_all()
        return True

    def _pause(self, timeout: float | None = None) -> None:
        """Wait until something happened, at most `timeout` seconds."""
        self._paused += 1
        try:
            self._condition.wait(timeout)
        finally:
            self._paused -= 1

    def _sync_in_time(self, period_ms: int) -> None:
        """Under every_ms: sync also when traffic stops.

        Nothing falls due earlier than a period after it was written, so that a look every
        period misses nothing.
        """
        wait_ms = period_ms
        while not self._closing.wait(wait_ms / 1000):
            with self._condition:
                log = self._store.log
                if self._closed or log.failed is not None:
                    return
                due_ms = log.sync_due_ms()
                wait_ms = period_ms
                if due_ms is not None:
                    wait_ms = due_ms - self._store.monotonic()
                    if wait_ms <= 0 and not self._flushing:
                        self._flush_once()
                    wait_ms = max(wait_ms, 1)

    # -- watches --------------------------------------------------------------------------

    def wait_for_records(self, watch: Watch, deadline: float | None) -> int | None:
        """The last released offset once it lies behind the watch's; None when there is none.

        That is at the deadline (time.monotonic seconds), and when the watch or the database
        is closed or the log is over.
        """
        with self._condition:
            while not self._closed and not watch.closed:
                released = self._store.log.released
                if released > watch.position:
                    return released
                left = None if deadline is None else deadline - time.monotonic()
                if self._store.log.failed is not None or (left is not None and left <= 0):
                    return None
                self._pause(left)
            return None

    def check_readable(self) -> None:
        """Raise DatabaseClosed, or WriteFailed where the log is over: nothing is to come."""
        with self._condition:
            self._check_open()
            if self._store.log.failed is not None:
                raise WriteFailed(f"the log has failed: {self._store.log.failed}", final=True)

    def wake_watches(self) -> None:
        """Let waiting watches look whether they were closed."""
        with self._condition:
            self._condition.notify_all()

    def read_events(self, from_offset: int, upto: int) -> tuple[Feed, int]:
        """See Store.read_events."""
        return self._store.read_events(from_offset, upto)

    # -- procedures -----------------------------------------------------------------------

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

    def _compact_soon(self) -> None:
        self._worker = threading.Thread(
            target=self._compact_by_itself, name="rstmdb-compact", daemon=True
        )
        self._worker.start()

    def _compact_by_itself(self) -> None:
        try:
            self._drive(self._store.compact)
        except DatabaseClosed:
            pass
        except (StorageError, core.CoreError, OSError) as error:
            self._store.note_compaction_failed()
            logger.error("automatic compaction failed, to be tried again: %s", error)
        finally:
            self._worker = None
