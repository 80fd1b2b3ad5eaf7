"""What all sessions of a server share: the store, its commits, subscriptions, tables, limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread
from anyio.streams.memory import MemoryObjectSendStream

from rstmdb_protocol import Request
from rstmdb_storage import Durable, Procedure, SnapshotFailed, Store, WriteFailed, split_offset

from .answers import Answered, Observer
from .auth import TokenSet
from .commands import closed_tables, open_tables, plain_commands
from .committer import Committer, EventLoop
from .config import Config
from .metrics import Gauges, Metrics
from .outbox import Outbox
from .session import Session
from .subscriptions import Subscriptions
from .turns import Turns

__all__ = ["Hub"]

READERS = 1
"""WAL_READs that run at one time: each of their threads takes time from the event loop."""
COMPILERS = 1
"""Definitions that are read at one time, for the same reason."""

logger = logging.getLogger("rstmdb.hub")

Job = tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]


class Hub:
    """One server's shared state; everything here runs on the event loop's thread."""

    def __init__(
        self,
        config: Config,
        store: Store,
        metrics: Metrics,
        loop: EventLoop,
        jobs: MemoryObjectSendStream[Job],
        tokens: TokenSet,
    ) -> None:
        self.config = config
        self.store = store
        self.metrics = metrics
        self.tokens = tokens
        self.started_at = time.monotonic()
        self.now = self.started_at
        """Monotonic seconds, refreshed every second: fine enough for idle timeouts."""
        self.sessions: dict[Session, None] = {}
        self.waiting: dict[Outbox, None] = {}
        """Sessions with answers that are held."""
        self.observer: Observer | None = None
        """Told of each answer as it leaves, where someone wants to know; see `observe_with`."""
        self.stopping = False
        self.compacting = False
        self._jobs = jobs
        self._durable_waiters: list[tuple[int, anyio.Event]] = []
        self._maintenance = anyio.Lock()
        self._time_ms = 0
        self._time_text = ""
        self.commands = plain_commands(self)
        self.open_tables = open_tables(self)
        self.closed_tables = closed_tables(self)
        self.call_soon = loop.call_soon
        self.turns = Turns(loop.call_soon)
        self.readers = anyio.Semaphore(READERS)
        self.lists = anyio.Lock()
        """Long lists are encoded one at a time, so that what they cost a pass is bounded."""
        self.compilers = anyio.Semaphore(COMPILERS)
        self.subscriptions = Subscriptions(self, loop)
        store.snapshot_taken = lambda ms: metrics.snapshot_duration.observe(ms / 1000)
        store.hold_back = self.subscriptions.oldest_position
        self.committer = Committer(store, loop, self._on_flush, self.waiting)
        self.commit_soon = self.committer.commit_soon

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def server_time(self) -> str:
        """The time as answers carry it: RFC 3339, UTC, to the millisecond."""
        now_ms = self.store.clock()
        if now_ms != self._time_ms:
            self._time_ms = now_ms
            moment = datetime.fromtimestamp(now_ms / 1000, UTC)
            self._time_text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03d}Z"
        return self._time_text

    # -- sessions -------------------------------------------------------------------------

    def admit(self, session: Session) -> None:
        """Take a new connection in."""
        self.sessions[session] = None
        self.metrics.connections_total += 1
        self.metrics.connections_active += 1

    def forget(self, session: Session) -> None:
        """A connection is gone."""
        if session in self.sessions:
            del self.sessions[session]
            self.metrics.connections_active -= 1
        self.waiting.pop(session, None)
        self.subscriptions.drop_session(session)

    def observe_with(self, observers: Sequence[Observer]) -> None:
        """Tell these, and no others, of each answer as it leaves."""

        def tell_all(answered: Answered) -> None:
            for observer in observers:
                observer(answered)

        if len(observers) > 1:
            self.observer = tell_all
        else:
            self.observer = observers[0] if observers else None

    # -- commits --------------------------------------------------------------------------

    def _on_flush(self, result: Any) -> None:
        released = result.released
        if result.records:
            self.metrics.commit_records.observe(result.records)
        if result.sync_seconds is not None:
            self.metrics.fsync_duration.observe(result.sync_seconds)
        if result.failed is not None:
            message = f"the log could not be written: {result.error}"
            for session in list(self.waiting):
                session.fail(released, message)
        for session in list(self.waiting):
            session.release()
        if self._durable_waiters:
            self._wake_durable_waiters(result)
        if not self.compacting and self.store.compaction_due():
            self.compacting = True
            self.spawn(self._compact_by_itself)

    def _wake_durable_waiters(self, result: Any) -> None:
        still = []
        for offset, event in self._durable_waiters:
            if result.failed is not None or self.store.log.durable >= offset:
                event.set()
            else:
                still.append((offset, event))
        self._durable_waiters = still
        if still:
            self.commit_soon(force_sync=True)

    async def wait_durable(self, offset: int) -> None:
        """Wait until the log is synced up to an offset. Raises WriteFailed."""
        epoch = self.store.epoch
        while self.store.log.durable < offset:
            failed = self.store.log.failed
            if failed is not None:
                raise WriteFailed(f"the log has failed: {failed}", final=True)
            event = anyio.Event()
            self._durable_waiters.append((offset, event))
            self.commit_soon(force_sync=True)
            await event.wait()
            if self.store.epoch != epoch:
                raise WriteFailed("the log could not be synced", final=False)

    # -- work that takes a while ----------------------------------------------------------

    def spawn(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run a coroutine function beside the sessions; callable from any callback."""
        self._jobs.send_nowait((function, args))

    async def run_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run blocking work on a worker thread."""
        return await anyio.to_thread.run_sync(lambda: function(*args))

    async def run_procedure(self, procedure: Procedure) -> Any:
        """Drive a storage procedure: its blocking steps on threads, its waits on the loop.

        One at a time: they all touch the same snapshots and segments.
        """
        async with self._maintenance:
            return await self._drive(procedure)

    async def _drive(self, procedure: Procedure) -> Any:
        try:
            step = next(procedure)
            while True:
                try:
                    if isinstance(step, Durable):
                        await self.wait_durable(step.offset)
                        value = None
                    else:
                        value = await self.run_blocking(step)
                except Exception as error:  # noqa: BLE001 (the procedure decides)
                    step = procedure.throw(error)
                else:
                    step = procedure.send(value)
        except StopIteration as done:
            return done.value

    def answer_later(
        self,
        session: Session,
        request: Request,
        work: Callable[[], Awaitable[tuple[Any, int]]],
        *,
        wrote: bool = False,
        alone: bool = False,
    ) -> None:
        """Keep the request's place among the answers and fill it when the work is done.

        `wrote` as for Outbox.answer. `alone`: the connection's next request waits for this one.
        """
        held = session.reserve(request)
        if alone:
            session.busy = True

        async def run() -> None:
            try:
                result, offset = await work()
            except Exception as error:  # noqa: BLE001 (every failure becomes an answer)
                done(error)
                # What its frames hold would wait for a collection, and make that a long one.
                error.__traceback__ = None
            else:
                done(result, offset, wrote=wrote)

        def done(result: Any, offset: int = 0, *, wrote: bool = False) -> None:
            if alone:
                session.busy = False
            session.fulfil(held, result, offset, wrote=wrote)

        self.spawn(run)

    async def _compact_by_itself(self) -> None:
        try:
            await self.compact(force_snapshot=False)
        except (WriteFailed, SnapshotFailed, OSError) as error:
            self.store.note_compaction_failed()
            logger.error("automatic compaction failed, to be tried again: %s", error)
        finally:
            self.compacting = False

    async def compact(self, *, force_snapshot: bool) -> Any:
        """Compact, and note how long it took."""
        began = time.monotonic()
        result = await self.run_procedure(self.store.compact(force_snapshot=force_snapshot))
        self.metrics.compaction_duration.observe(time.monotonic() - began)
        return result

    # -- for scrapes ----------------------------------------------------------------------

    def gauges(self) -> Gauges:
        """Sizes as they are now."""
        state = self.store.state
        stats = self.store.log.stats()
        return Gauges(
            instances=len(state.instances),
            machines=state.machine_count,
            wal_entries=stats.entry_count,
            wal_segments=stats.segment_count,
            wal_size_bytes=stats.total_size_bytes,
            wal_bytes_written=stats.bytes_written,
            wal_bytes_read=stats.bytes_read,
            wal_writes=stats.writes,
            wal_reads=stats.reads,
            wal_fsyncs=stats.fsyncs,
            watcher_lag_bytes=self._watcher_lag_bytes(),
            skipped_records=self.store.recovered.report.skipped_records,
            ignored_entries=self.store.ignored_entries,
            maintenance_failures=dict(self.store.failures),
        )

    def _watcher_lag_bytes(self) -> int:
        oldest = self.subscriptions.oldest_position()
        if oldest is None:
            return 0
        segment_id, position = split_offset(oldest)
        behind = sum(size for number, _, size in self.store.log.segments() if number >= segment_id)
        return max(0, behind - position)

    def readiness(self) -> tuple[bool, str]:
        """Whether the server takes writes, and why not."""
        if self.stopping:
            return False, "the server is stopping"
        failed = self.store.log.failed
        if failed is not None:
            return False, f"the log has failed: {failed}"
        return True, ""
