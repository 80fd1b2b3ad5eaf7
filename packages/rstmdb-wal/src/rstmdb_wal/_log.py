"""The log as its one writer sees it: appends, flushes, reading, what is kept and for how long."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rstmdb_wal._commit import Committer, LogStart
from rstmdb_wal._errors import LogError
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._reader import LogReader
from rstmdb_wal._record import MAX_PAYLOAD_BYTES, Record
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES, broken_name, segment_id_of, segment_name
from rstmdb_wal._writer import Flush


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


class Log(Committer):
    """An open log, made by ``Recovery.finish``. One thread owns it; ``read`` may run on any.

    Attributes, all to be read only: ``database_id`` (16 bytes); ``next_sequence`` and
    ``next_offset`` of the record to come (the offset, if it fits the segment); ``head``,
    ``released`` and ``durable``, offsets of the last record appended, released and synced, 0 if
    none; ``released_sequence``, ``durable_sequence``; ``failed``, the error that ended the log.
    """

    __slots__ = ("_reader",)

    def __init__(self, start: LogStart) -> None:
        super().__init__(start)
        self._reader = LogReader(start.fs, self._table, self._seed)

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
