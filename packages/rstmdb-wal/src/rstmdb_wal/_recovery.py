"""Opening a log: what can be trusted is streamed, the rest refused or cut.

The iteration only reads; all changes happen in ``finish``:

1. what is cut off the last segment is copied aside and synced,
2. the cut is made and synced,
3. what no later record proves synced is written again in place and synced,
4. the directory is synced.

A crash before any of these steps finds the same state again. Writing always goes on in a new
segment, which the first flush makes: were the last one written on, then the offsets of records
that were lost without a trace would be given out a second time. Names of copies set aside count
as used ids for the same reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rstmdb_wal._commit import LogStart
from rstmdb_wal._errors import LogMisused
from rstmdb_wal._log import Log
from rstmdb_wal._offset import make_offset, split_offset
from rstmdb_wal._options import LogOptions
from rstmdb_wal._repair import cut_tail, rewrite, rewrite_header
from rstmdb_wal._replay import Replay
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES, Segment, SegmentHeader, highest_segment_id
from rstmdb_wal.fs import FileSystem, OsFileSystem


class Recovery(Replay):
    """Streams the records of a log once, then makes it writable.

    ``directory`` holds the segments; ``finish`` makes it if it is not there. ``after`` and
    ``after_sequence`` are offset and sequence of the last record that a snapshot covers (0:
    none): the replay starts behind it, and what lies in earlier segments need not be there.
    Writing never goes on below segment ``min_segment``. ``database_id`` (16 bytes) is what the
    log must have, where that is known; a new log gets it, or one from ``new_database_id``.

    Memory is bounded by a chunk of 1 MiB and the largest batch.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        fs: FileSystem | None = None,
        options: LogOptions | None = None,
        after: int = 0,
        after_sequence: int = 0,
        min_segment: int = 0,
        database_id: bytes | None = None,
        new_database_id: Callable[[], bytes] = lambda: os.urandom(16),
    ) -> None:
        if database_id is not None and len(database_id) != 16:
            raise ValueError("a database id has 16 bytes")
        super().__init__(
            Path(directory),
            fs if fs is not None else OsFileSystem(),
            options if options is not None else LogOptions(),
            after,
            after_sequence,
            database_id,
        )
        self._min_segment = min_segment
        self._new_database_id = new_database_id

    @property
    def database_id(self) -> bytes | None:
        """The database that the log belongs to; None as long as neither caller nor files say."""
        return self._database_id

    def finish(self) -> Log:
        """Cut, write again, sync; return the log, which goes on in a new segment.

        After the iteration has ended. Raises ``OSError`` if any of it fails; the same recovery
        can then be tried again by a new object.
        """
        if self._state != "read":
            raise LogMisused("read all records first, and finish once")
        self._state = "finished"
        fs, directory = self._fs, self._directory
        if not fs.exists(directory):
            fs.mkdir(directory)
            fs.fsync_dir(directory.parent)
        if self._database_id is None:
            self._database_id = self._new_database_id()
        self._repair_last()
        fs.fsync_dir(directory)
        log = Log(self._start())
        if not self._names:
            # The database id exists from the first start on, before anything relies on it.
            log.make_first_segment()
        self.report.earliest_offset = log.earliest
        return log

    def _repair_last(self) -> None:
        last, report = self._last, self.report
        if last is None:
            return
        if self._torn_header and self._database_id is not None:
            if report.torn_bytes:
                report.broken_file = cut_tail(self._fs, last.path, 0, self._names)
            header = SegmentHeader(self._database_id, last.segment_id, self._expected, self._head)
            rewrite_header(self._fs, last.path, header)
            self._kept.append(
                Segment(
                    last.segment_id, last.path, SEGMENT_HEADER_BYTES, self._expected, self._head,
                    legacy=False,
                )
            )  # fmt: skip
            return
        if self._unproven is None:
            return  # it was skipped: its bytes stay as they are
        if self._cut is not None:
            report.broken_file = cut_tail(self._fs, last.path, self._cut, self._names)
        start = min(self._unproven.position, self._end)
        report.rewritten_bytes = self._end - start
        rewrite(self._fs, last.path, start, self._end)

    def _start(self) -> LogStart:
        next_id = max(
            highest_segment_id(self._names) + 1,
            split_offset(self._after)[0],
            self._min_segment,
        )
        end = self._kept[-1] if self._kept else None
        head_end = make_offset(end.segment_id, end.end) if end is not None else self._head
        return LogStart(
            self._fs,
            self._directory,
            self._options,
            self._database_id or b"",
            self._kept,
            next_id,
            self._expected - 1,
            self._head,
            head_end,
        )
