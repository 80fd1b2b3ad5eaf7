"""From queued to released: flushes, what becomes of them, and what is undone after a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rstmdb_wal._append import Appender
from rstmdb_wal._errors import LogFailed, LogMisused
from rstmdb_wal._offset import POSITION_BITS, make_offset
from rstmdb_wal._options import LogOptions
from rstmdb_wal._record import crc_seed
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES, Segment, SegmentTable, segment_name
from rstmdb_wal._writer import Chunk, Flush, SegmentWriter
from rstmdb_wal.fs import FileSystem


class FlushResult(NamedTuple):
    """What a flush came to.

    ``released`` and ``durable`` are the offsets of the last released and the last synced
    record. ``failed`` is None, "full" (all above ``released`` is undone, the log goes on) or
    "fatal" (the log is over), ``error`` the cause. ``records`` were released by this flush,
    ``sync_seconds`` is what its fdatasync took, None if there was none.
    """

    released: int
    durable: int
    failed: str | None
    error: OSError | None
    records: int
    sync_seconds: float | None


class LogStart(NamedTuple):
    """Where recovery leaves off and the log goes on. All before is written and synced."""

    fs: FileSystem
    directory: Path
    options: LogOptions
    database_id: bytes
    segments: list[Segment]
    next_segment_id: int
    last_sequence: int
    head: int
    head_end: int


class Committer(Appender):
    """The part of ``Log`` that flushes; ``Log`` documents it."""

    __slots__ = (
        "_directory",
        "_flush",
        "_flushes",
        "_fs",
        "_given_up",
        "_horizon",
        "_last_flush_records",
        "_oldest_unsynced_ms",
        "_records_flushed",
        "_sync_every",
        "_sync_ms",
        "_table",
        "_writer",
        "database_id",
        "durable",
        "released",
        "released_sequence",
    )

    def __init__(self, start: LogStart) -> None:
        seed = crc_seed(start.database_id)
        super().__init__(
            start.options, seed, start.next_segment_id, start.last_sequence, start.head
        )
        self._fs = start.fs
        self._directory = start.directory
        self.database_id = start.database_id
        self._table = SegmentTable(start.segments)
        self._writer = SegmentWriter(start.fs, start.directory, start.options, start.database_id)
        self.released_sequence = start.last_sequence
        self.released = self.durable = start.head
        # Readers take both at once: the last released record and where it ends.
        self._horizon = (start.head, start.head_end)
        self._flush: Flush | None = None
        self._given_up: Flush | None = None  # a write in place that failed, to be ended
        policy = start.options.policy
        self._sync_every = {"every_write": 1, "every_n": policy.n}.get(policy.kind, 1 << 64)
        self._sync_ms = policy.n if policy.kind == "every_ms" else 0
        self._oldest_unsynced_ms: int | None = None
        self._flushes = self._records_flushed = self._last_flush_records = 0

    def begin_flush(self, now_ms: int, *, force_sync: bool = False) -> Flush | None:
        """Take all that is queued; None if there is nothing to write and no sync is due.

        ``now_ms`` is any clock that never goes back, the same one as for ``sync_due_ms``. Call
        ``run`` on the flush, on any thread, then ``end_flush``; there is one at a time.
        Raises ``LogFailed``.
        """
        if self._limit < 0 or self._flush is not None:
            self._check_open()
            given_up, self._given_up = self._given_up, None
            if given_up is not None:
                return given_up
            raise LogMisused("a batch or another flush is under way")
        chunks, current = self._closed, self._current
        last = self.released_sequence
        if current.pieces:
            self._seal_current()
            chunks = [*chunks, current]
            last = current.last_sequence
        elif chunks:
            last = chunks[-1].last_sequence
        unsynced = last - self.durable_sequence
        sync = unsynced > 0 and (
            force_sync
            or unsynced >= self._sync_every
            or (self._sync_ms > 0 and self._is_overdue(now_ms))
        )
        if current.pieces:
            # In its place one that goes on where it ends; offset and room stay as they are.
            self._current = Chunk(
                current.segment_id, current.end, last + 1, current.last_offset, create=False
            )
        elif not chunks and not sync:
            return None
        self._closed = []
        self._flush = flush = Flush(self._writer, chunks, now_ms, sync=sync)
        return flush

    def write_in_place(self, now_ms: int) -> bool:
        """Write and release all that is queued in one go, where one plain write does that.

        That is where no sync is due, no segment is to be made and no flush is under way. False
        where it is not so, and where the write failed: then it takes a flush, whose end tells
        what came of it. For a caller who may block and lets nobody append meanwhile: it costs
        less than a flush that can run beside other work. Raises ``LogFailed``.
        """
        chunk = self._current
        if self._limit < 0 or self._flush is not None or self._closed or chunk.create:
            self._check_open()
            return False
        last = self.next_sequence - 1
        if not chunk.pieces or last - self.durable_sequence >= self._sync_every:
            return False
        if self._sync_ms and self._is_overdue(now_ms):
            return False
        self._seal_current()
        try:
            self._writer.write(chunk)
        except OSError as error:
            # As if begin_flush had taken it, and its run had come to this.
            self._go_to(chunk.segment_id, chunk.end, create=False)
            self._flush = self._given_up = Flush(self._writer, [chunk], now_ms, sync=False)
            self._flush.fail(error, create=False)
            return False
        self._take_plain(chunk)
        if self._oldest_unsynced_ms is None:
            self._oldest_unsynced_ms = now_ms
        chunk.pieces.clear()
        chunk.position = chunk.end
        chunk.first_sequence = last + 1
        chunk.previous_offset = chunk.last_offset
        return True

    def _is_overdue(self, now_ms: int) -> bool:
        due = self.sync_due_ms()
        return due is not None and now_ms >= due

    def sync_due_ms(self) -> int | None:
        """Return when the next sync is due under every_ms (clock of ``begin_flush``), or None."""
        if not self._sync_ms or self._oldest_unsynced_ms is None:
            return None
        return self._oldest_unsynced_ms + self._sync_ms

    def end_flush(self, flush: Flush) -> FlushResult:
        """Take note of what the flush came to, on the owner's thread."""
        if flush is not self._flush or not flush.ran:
            raise LogMisused("this flush is not the one under way, or has not run")
        if self._batch is not None and flush.failed == "full":
            raise LogMisused("a batch is open")
        self._flush = None
        released_before = self.released_sequence
        if flush.failed is None and not flush.rotated:
            self._note_plain(flush)
        elif flush.failed == "fatal":
            self._fail(flush.error or OSError("the log could not be written"))
        else:
            self._note_written(flush)
            if flush.failed == "full":
                self._rewind(flush)
        synced = flush.sync and flush.failed is None
        return FlushResult(
            self.released,
            self.durable,
            flush.failed,
            flush.error,
            self.released_sequence - released_before,
            self._writer.sync_seconds if synced else None,
        )

    def _fail(self, error: Exception) -> None:
        """The log is over: what is released stays readable, all behind it never was."""
        self.failed = error
        self.head = self.released
        self._limit = -1
        self._closed = []
        self._current.pieces.clear()
        self._writer.close()

    def _note_plain(self, flush: Flush) -> None:
        """Take note of a flush that went well and made no segment: what most of them are."""
        if flush.chunks:
            self._take_plain(flush.chunks[-1])
        else:
            self._flushes += 1
            self._last_flush_records = 0
        if flush.sync:
            self.durable, self.durable_sequence = self.released, self.released_sequence
            self._oldest_unsynced_ms = None
        elif self._oldest_unsynced_ms is None:
            self._oldest_unsynced_ms = flush.started_ms

    def _take_plain(self, chunk: Chunk) -> None:
        """Release a chunk that was written to the segment that is there."""
        end = chunk.end
        self._table.grow(chunk.segment_id, chunk.position, end)
        written = chunk.last_sequence - self.released_sequence
        self.released = released = chunk.last_offset
        self.released_sequence = chunk.last_sequence
        # Last, since readers on other threads go by it.
        self._horizon = (released, chunk.segment_id << POSITION_BITS | end)
        self._flushes += 1
        self._last_flush_records = written
        self._records_flushed += written

    def _note_written(self, flush: Flush) -> None:
        written = flush.chunks[: flush.written]
        was_released, was_sequence = self.released, self.released_sequence
        for chunk in flush.chunks[: flush.written]:
            if chunk.create:
                self._add_segment(chunk)
            self._table.grow(chunk.segment_id, chunk.position, chunk.end)
        if written:
            last = written[-1]
            self.released, self.released_sequence = last.last_offset, last.last_sequence
            # Last, since readers on other threads go by it.
            self._horizon = (last.last_offset, make_offset(last.segment_id, last.end))
        if (flush.failed is None and flush.sync) or flush.failed == "full":
            self.durable, self.durable_sequence = self.released, self.released_sequence
            self._oldest_unsynced_ms = None
        else:
            if flush.rotated:
                closed = written[flush.synced - 1] if flush.synced else None
                self.durable = closed.last_offset if closed else was_released
                self.durable_sequence = closed.last_sequence if closed else was_sequence
                self._oldest_unsynced_ms = None
            if self._oldest_unsynced_ms is None and self.released > self.durable:
                self._oldest_unsynced_ms = flush.started_ms
        self._flushes += 1
        self._last_flush_records = self.released_sequence - was_sequence
        self._records_flushed += self._last_flush_records

    def _add_segment(self, chunk: Chunk) -> None:
        path = self._directory / segment_name(chunk.segment_id)
        self._table.add(
            Segment(
                chunk.segment_id,
                path,
                SEGMENT_HEADER_BYTES,
                chunk.first_sequence,
                chunk.previous_offset,
                legacy=False,
            )
        )

    def _rewind(self, flush: Flush) -> None:
        """After a full disk: forget all that is not released, also what was queued behind it."""
        self.next_sequence = self.released_sequence + 1
        self.head = self.released
        self._closed = []
        if flush.resume is not None:
            segment_id, position, create = flush.resume
            if not create and flush.chunks[flush.written].create:
                self._add_segment(flush.chunks[flush.written])
            self._go_to(segment_id, position, create=create)

    def flush(self, now_ms: int = 0, *, force_sync: bool = False) -> FlushResult | None:
        """Begin, run and end a flush in one call, for callers that may block."""
        flush = self.begin_flush(now_ms, force_sync=force_sync)
        if flush is None:
            return None
        flush.run()
        return self.end_flush(flush)

    def _flush_or_raise(self) -> None:
        result = self.flush(self._oldest_unsynced_ms or 0, force_sync=True)
        if result is not None and result.error is not None:
            if result.failed == "full":
                raise result.error
            raise LogFailed(f"the log has failed: {result.error}") from result.error
