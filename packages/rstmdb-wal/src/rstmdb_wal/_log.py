"""The log as its one writer sees it: what Appender queues is flushed, read and dropped here."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rstmdb_wal._append import Appender
from rstmdb_wal._errors import LogError, LogFailed, LogMisused
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._options import LogOptions
from rstmdb_wal._reader import LogReader
from rstmdb_wal._record import MAX_PAYLOAD_BYTES, Record, crc_seed
from rstmdb_wal._segment import (
    SEGMENT_HEADER_BYTES,
    Segment,
    SegmentTable,
    broken_name,
    segment_id_of,
    segment_name,
)
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


class LogStats(NamedTuple):
    """Figures since the log was opened, and its size now. Bytes; seconds."""

    entry_count: int
    segment_count: int
    total_size_bytes: int
    bytes_written: int
    bytes_read: int
    writes: int
    reads: int
    fsyncs: int
    flushes: int
    records_flushed: int
    last_flush_records: int
    last_fsync_seconds: float
    mean_fsync_seconds: float


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


class Log(Appender):
    """An open log, made by ``Recovery.finish``. One thread owns it; ``read`` may run on any.

    Attributes, all to be read only: ``database_id`` (16 bytes); ``next_sequence`` and
    ``next_offset`` of the record to come (the offset, if it fits the segment); ``head``,
    ``released`` and ``durable``, offsets of the last record appended, released and synced, 0 if
    none; ``released_sequence``, ``durable_sequence``; ``failed``, the error that ended the log.
    """

    __slots__ = (
        "_directory",
        "_flush",
        "_flushes",
        "_fs",
        "_horizon",
        "_last_flush_records",
        "_oldest_unsynced_ms",
        "_reader",
        "_records_flushed",
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
        self._reader = LogReader(start.fs, self._table, seed)
        self.released_sequence = start.last_sequence
        self.released = self.durable = start.head
        # Readers take both at once: the last released record and where it ends.
        self._horizon = (start.head, start.head_end)
        self._flush: Flush | None = None
        self._oldest_unsynced_ms: int | None = None
        self._flushes = self._records_flushed = self._last_flush_records = 0

    @property
    def bytes_written(self) -> int:
        """Return the bytes written since the log was opened."""
        return self._writer.bytes_written

    @property
    def earliest(self) -> int:
        """One past the last deleted record; where the first record lies if none was deleted."""
        if self._table.all():
            return self._table.earliest
        return make_offset(self._current.segment_id, SEGMENT_HEADER_BYTES)

    def reaches_back_to(self, offset: int) -> bool:
        """Tell whether all records at or above ``offset`` are kept: none of them was deleted.

        So it is for every offset as long as nothing was deleted. Exactly the offsets above 0 for
        which it is not raise ``OffsetCompacted`` when read from.
        """
        return self._table.reaches_back_to(offset)

    # Flushing

    def begin_flush(self, now_ms: int, *, force_sync: bool = False) -> Flush | None:
        """Take all that is queued; None if there is nothing to write and no sync is due.

        ``now_ms`` is any clock that never goes back, the same one as for ``sync_due_ms``. Call
        ``run`` on the flush, on any thread, then ``end_flush``; there is one at a time.
        Raises ``LogFailed``.
        """
        self._check_open()
        if self._batch is not None or self._flush is not None:
            raise LogMisused("a batch or another flush is under way")
        chunks = self._closed
        if self._current.pieces:
            self._seal_current()
            chunks = [*chunks, self._current]
        last = chunks[-1].last_sequence if chunks else self.released_sequence
        sync = last > self.durable_sequence and (force_sync or self._sync_is_due(last, now_ms))
        if not chunks and not sync:
            return None
        if chunks and chunks[-1] is self._current:
            chunk = self._current
            self._go_to(chunk.segment_id, chunk.end, create=False)
        self._closed = []
        self._flush = Flush(self._writer, chunks, now_ms, sync=sync)
        return self._flush

    def _sync_is_due(self, last_sequence: int, now_ms: int) -> bool:
        policy = self._options.policy
        if policy.kind == "every_write":
            return True
        if policy.kind == "every_n":
            return last_sequence - self.durable_sequence >= policy.n
        due = self.sync_due_ms()
        return due is not None and now_ms >= due

    def sync_due_ms(self) -> int | None:
        """Return when the next sync is due under every_ms (clock of ``begin_flush``), or None."""
        if self._options.policy.kind != "every_ms" or self._oldest_unsynced_ms is None:
            return None
        return self._oldest_unsynced_ms + self._options.policy.n

    def end_flush(self, flush: Flush) -> FlushResult:
        """Take note of what the flush came to, on the owner's thread."""
        if flush is not self._flush or not flush.ran:
            raise LogMisused("this flush is not the one under way, or has not run")
        if self._batch is not None and flush.failed == "full":
            raise LogMisused("a batch is open")
        self._flush = None
        released_before = self.released_sequence
        if flush.failed == "fatal":
            self._fail(flush.error or OSError("the log could not be written"))
        else:
            self._note_written(flush)
            if flush.failed == "full":
                self._rewind(flush)
        return FlushResult(
            self.released,
            self.durable,
            flush.failed,
            flush.error,
            self.released_sequence - released_before,
            self._writer.sync_seconds if flush.sync and flush.failed is None else None,
        )

    def _fail(self, error: Exception) -> None:
        """The log is over: what is released stays readable, all behind it never was."""
        self.failed = error
        self.head = self.released
        self._limit = -1
        self._closed = []
        self._current.pieces.clear()
        self._writer.close()

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

    def make_first_segment(self) -> None:
        """Make the segment that the next record goes to, before there is one; for recovery.

        Raises ``OSError``.
        """
        chunk = self._current
        flush = Flush(self._writer, [chunk], 0, sync=False)
        flush.run()
        if flush.error is not None:
            raise flush.error
        self._add_segment(chunk)
        chunk.create = False

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

    def seal(self) -> int:
        """Write and sync all, let the next record go to a new segment, return its offset.

        What lies before that offset never changes again. Blocks. Raises ``LogFailed``, or
        ``OSError`` for a full disk.
        """
        self.rotate()
        self._flush_or_raise()
        return self.next_offset

    def close(self) -> None:
        """Write and sync all, under every policy; unless the log has failed. Then it is over.

        Raises as ``seal`` does; the log is closed all the same.
        """
        if self._over:
            return
        try:
            if self.failed is None:
                self._flush_or_raise()
                with suppress(OSError):
                    self._writer.trim()
        finally:
            self._over = True
            self._limit = -1
            self._writer.close()

    # Reading and keeping

    def read(
        self,
        from_offset: int,
        *,
        limit: int = 1000,
        max_bytes: int = MAX_PAYLOAD_BYTES,
        upto: int | None = None,
    ) -> list[Record]:
        """Return released records from ``from_offset`` on, in order; on any thread.

        The offset need not be a record's start: the first record at or after it comes first; 0
        is the oldest kept. At most ``limit`` records, none behind offset ``upto``, and payloads
        of ``max_bytes`` in all, except that one record always comes. Raises
        ``OffsetCompacted`` below ``earliest`` once records were deleted, ``LogDamaged``,
        ``OSError``.
        """
        released, horizon = self._horizon
        last = released if upto is None else min(upto, released)
        if limit < 1 or from_offset > last:
            return []
        return self._reader.read(from_offset, limit, max_bytes, last, horizon)

    def drop_before(self, offset: int) -> tuple[int, int]:
        """Delete the segments that lie wholly before ``offset``, oldest first; never the last.

        Returns (segments deleted, bytes reclaimed). Raises ``OSError``; the segments deleted by
        then are gone.
        """
        deleted = reclaimed = 0
        segments = self._table.all()
        end = min(split_offset(offset)[0], segments[-1].segment_id if segments else 0)
        # By the files, not by the table: that has none that a snapshot made unnecessary.
        names = self._fs.listdir(self._directory)
        ids = sorted(number for name in names if (number := segment_id_of(name)) is not None)
        try:
            for segment_id in ids:
                if segment_id >= end:
                    break
                path = self._directory / segment_name(segment_id)
                size = self._fs.file_size(path)
                self._fs.unlink(path)
                self._table.remove(segment_id)
                deleted += 1
                reclaimed += size
        finally:
            if deleted:
                self._fs.fsync_dir(self._directory)
        return deleted, reclaimed

    def move_aside(self, segment_id: int) -> str:
        """Rename a damaged segment to a ``.broken`` name, durably; return that name.

        For the time after a snapshot that covers it: until then it is all there is of its
        records. Raises ``LogError`` for the segment written to, ``OSError``.
        """
        name = segment_name(segment_id)
        if segment_id >= self._current.segment_id:
            raise LogError(f"{name} is in use")
        target = broken_name(name, self._fs.listdir(self._directory))
        self._fs.rename(self._directory / name, self._directory / target)
        self._table.remove(segment_id)
        self._fs.fsync_dir(self._directory)
        return target

    def segments(self) -> list[tuple[int, Path, int]]:
        """Return (segment id, file, size of its records in bytes), oldest first."""
        return [(s.segment_id, s.path, s.end) for s in self._table.all()]

    def stats(self) -> LogStats:
        """Return the figures."""
        segments = self._table.all()
        first = segments[0].first_sequence if segments else self.released_sequence + 1
        writer, reader = self._writer, self._reader
        return LogStats(
            entry_count=self.released_sequence + 1 - first,
            segment_count=len(segments),
            total_size_bytes=sum(segment.end for segment in segments),
            bytes_written=writer.bytes_written,
            bytes_read=reader.bytes_read,
            writes=writer.writes,
            reads=reader.reads,
            fsyncs=writer.fsyncs,
            flushes=self._flushes,
            records_flushed=self._records_flushed,
            last_flush_records=self._last_flush_records,
            last_fsync_seconds=writer.sync_seconds,
            mean_fsync_seconds=writer.sync_seconds_mean,
        )
