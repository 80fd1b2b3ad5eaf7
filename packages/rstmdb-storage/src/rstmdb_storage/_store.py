"""The database on one thread, without waiting.

The blocking Database and the server are two faces over this one object: they differ only in
how they wait for what an answer rests on.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rstmdb_core as core
from rstmdb_wal.fs import FileSystem

from . import _backup, _maintenance
from ._errors import WriteFailed
from ._history import read_events, read_records
from ._layout import Layout
from ._options import StorageOptions
from ._pacing import Pacing
from ._procedure import Durable, Procedure
from ._recording import Feed, Recording
from ._recovery import Recovered
from ._results import IoStats, WalReadResult, WalStatsResult

__all__ = ["Feed", "Store"]

logger = logging.getLogger("rstmdb.storage")


class Store(Recording, Pacing):
    """State and log, kept together by one rule: append, then evolve; show when released."""

    def __init__(
        self,
        recovered: Recovered,
        fs: FileSystem,
        layout: Layout,
        options: StorageOptions,
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self.state = recovered.state
        self.log = recovered.log
        self.catalog = recovered.catalog
        self.recovered = recovered
        self.fs = fs
        self.layout = layout
        self.options = options
        self.clock = clock
        """Wall clock, milliseconds since 1970."""
        self.monotonic = monotonic
        """Milliseconds that never go back, for policies and intervals."""
        self.new_id = new_id
        self.epoch = 0
        """Rises with each rollback, so that who waits can tell that one happened."""
        self.floors: list[int] = []
        """The offset that each rollback went back to, by the epoch that it ended."""
        self.listener: Callable[[Feed], None] | None = None
        """Called with the entries that each flush released."""
        self.snapshot_taken: Callable[[int], None] | None = None
        """Called with the milliseconds that each snapshot took, from its copy to its listing."""
        self.failures: Counter[str] = Counter(snapshot=0, compaction=0, backup=0)
        """How often each of these failed since the start; what failed will be tried again."""
        self._begin_counting(recovered.entries, recovered.report.bytes)
        self._checkpoint = recovered.checkpoint
        self._engine = options.engine
        self._timed = options.log.policy.kind == "every_ms"  # the one that asks for the time
        self._append = self.log.append
        self._encode = core.encode_sound_entry
        self._kinds = core.ENTRY_KINDS
        self._feed: deque[tuple[int, core.Entry]] = deque()

    # -- the log --------------------------------------------------------------------------

    @property
    def earliest_offset(self) -> int:
        """Where reading the log can begin: one past the last deleted record."""
        return self.log.earliest

    def reaches_back_to(self, offset: int) -> bool:
        """Whether nothing at or above an offset was deleted, so that one can go on from there.

        Where this is not so, `wal_read`, `read_events` and a watch raise OffsetGone; 0, which
        stands for the oldest record kept, aside.
        """
        return self.log.reaches_back_to(offset)

    def wal_read(self, from_offset: int, limit: int | None = None) -> WalReadResult:
        """A page of released records as JSON; for any thread.

        Raises OffsetGone below the oldest record kept.
        """
        return read_records(self.log, from_offset, limit)

    def read_events(self, from_offset: int, upto: int) -> tuple[Feed, int]:
        """Released entries that watchers care about, and the offset that was reached.

        For any thread. Raises OffsetGone below the oldest record kept.
        """
        return read_events(self.log, self.state, from_offset, upto)

    def wal_stats(self) -> WalStatsResult:
        """Size and position of the log."""
        stats = self.log.stats()
        return WalStatsResult(
            entry_count=stats.entry_count,
            segment_count=stats.segment_count,
            total_size_bytes=stats.total_size_bytes,
            latest_offset=self.log.head,
            io_stats=IoStats(
                stats.bytes_written, stats.bytes_read, stats.writes, stats.reads, stats.fsyncs
            ),
            earliest_offset=self.log.earliest,
            durable_offset=self.log.durable,
        )

    # -- maintenance ----------------------------------------------------------------------

    @property
    def ignored_entries(self) -> int:
        """Entries that made no sense and changed nothing, at recovery and since.

        None, unless something else than this database wrote the log. `recovered.ignored` has
        those of the recovery by reason.
        """
        return self.state.ignored.total()

    def timestamp(self) -> int:
        """The time for an entry: the clock's, but never less than the entry before."""
        return max(self.clock(), self.state.last_timestamp)

    def snapshot(self) -> Procedure:
        """See _maintenance.snapshot."""
        return _maintenance.snapshot(self)

    def compact(self, *, force_snapshot: bool = False) -> Procedure:
        """See _maintenance.compact."""
        return _maintenance.compact(self, force_snapshot=force_snapshot)

    def snapshot_instance(self, instance_id: str) -> Procedure:
        """See _maintenance.snapshot_instance."""
        return _maintenance.snapshot_instance(self, instance_id)

    def backup(self, directory: Path, name: str) -> Procedure:
        """See _backup.backup."""
        return _backup.backup(self, directory, name)

    def note_start(self) -> None:
        """Put on record what the state has to know from now on, and that recovery is done.

        Limits that differ from those in force are an entry of their own, so that a replay
        expires keys where the live database did. Where the disk is full, the database opens
        all the same, with the limits that it had. Raises WriteFailed where the log is over.
        """
        limits = self.options.limits
        changed = limits if limits != self.state.limits else None
        if changed is None and self.log.head == self.recovered.checkpoint:
            return
        self.checkpoint(limits=changed)
        try:
            self.flush_blocking(force_sync=True)
        except WriteFailed as error:
            if error.final:
                raise
            logger.warning("opened without a checkpoint: %s", error)

    def checkpoint(
        self, *, snapshot_id: str | None = None, limits: core.Limits | None = None
    ) -> int:
        """Append a checkpoint: proof that all before it is synced, once it is synced itself."""
        self._checkpoint = self.record(
            core.Checkpoint(self.timestamp(), snapshot_id=snapshot_id, limits=limits)
        )
        self.appended -= 1  # alone it is no reason for a snapshot
        return self._checkpoint

    def close(self) -> None:
        """Write, sync and checkpoint what is left; nothing else may be running.

        Raises WriteFailed when that did not work; it is closed all the same.
        """
        try:
            if self.log.failed is None and self.log.head != self._checkpoint:
                self.flush_blocking(force_sync=True)
                self.checkpoint()
                self.flush_blocking(force_sync=True)
        finally:
            self.log.close()

    def run(self, procedure: Procedure) -> Any:
        """Drive a procedure in place; nothing else may be running. Raises what it raises."""
        try:
            step = next(procedure)
            while True:
                try:
                    value = None
                    if not isinstance(step, Durable):
                        value = step()
                    elif step.offset > self.log.durable:
                        self.flush_blocking(force_sync=True)
                except Exception as error:  # noqa: BLE001 (the procedure decides)
                    step = procedure.throw(error)
                else:
                    step = procedure.send(value)
        except StopIteration as done:
            return done.value
