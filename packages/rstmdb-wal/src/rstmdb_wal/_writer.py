"""The blocking half of a flush: writes, syncs and rotation, on whichever thread runs it."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from time import perf_counter

from rstmdb_wal._options import LogOptions
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES, SegmentHeader, encode_header, segment_name
from rstmdb_wal.fs import File, FileSystem, write_full

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Chunk:
    """Records that follow each other in one segment, queued for one write.

    ``position`` is where they begin; ``create`` asks for the segment file to be made first.
    The fields about the last record are set when the chunk is taken for a flush or the log
    moves on to the next segment.
    """

    __slots__ = (
        "create",
        "end",
        "first_sequence",
        "last_offset",
        "last_sequence",
        "pieces",
        "position",
        "previous_offset",
        "segment_id",
    )

    def __init__(
        self,
        segment_id: int,
        position: int,
        first_sequence: int,
        previous_offset: int,
        *,
        create: bool,
    ) -> None:
        self.segment_id = segment_id
        self.position = position
        self.first_sequence = first_sequence
        self.previous_offset = previous_offset
        self.create = create
        self.pieces: list[bytes] = []
        self.last_offset = 0
        self.last_sequence = 0
        self.end = position


class SyncFailed(Exception):
    """A sync failed: unlike a full disk never survivable. ``error`` is the ``OSError``."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class SegmentWriter:
    """The file that is written to. One thread at a time."""

    __slots__ = (
        "_allocated",
        "_database_id",
        "_directory",
        "_end",
        "_file",
        "_fs",
        "_options",
        "bytes_written",
        "dirty",
        "fsyncs",
        "sync_seconds",
        "sync_seconds_mean",
        "writes",
    )

    def __init__(
        self, fs: FileSystem, directory: Path, options: LogOptions, database_id: bytes
    ) -> None:
        self._options = options
        self._end = 0  # of what was written
        self._allocated = 0  # of the zeros behind it
        self._fs = fs
        self._directory = directory
        self._database_id = database_id
        self._file: File | None = None
        self.dirty = False  # written and not synced
        self.bytes_written = 0
        self.writes = 0
        self.fsyncs = 0
        self.sync_seconds = 0.0
        self.sync_seconds_mean = 0.0

    def open_next(self, chunk: Chunk) -> None:
        """Make the chunk's segment and write to it from now on.

        The order is what lets only the last segment be torn: the old segment is synced, the
        new one made, the directory synced, only then something written into it; and its header
        is synced before any record follows.
        """
        self.trim()
        self.sync()
        file = self._fs.create(self._directory / segment_name(chunk.segment_id))
        try:
            try:
                self._fs.fsync_dir(self._directory)
            except OSError as error:
                raise SyncFailed(error) from error
            header = SegmentHeader(
                self._database_id, chunk.segment_id, chunk.first_sequence, chunk.previous_offset
            )
            data = encode_header(header)
            self.writes += write_full(file, data, 0)
            self.bytes_written += len(data)
            self._sync(file)
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()
            raise
        self.close()
        self._file = file
        self._end = self._allocated = len(data)

    def write(self, chunk: Chunk) -> None:
        """Write the chunk's records, all at once."""
        pieces = chunk.pieces
        if not pieces:
            return
        file = self._open_file()
        self.dirty = True
        data = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        self._end = chunk.position + len(data)
        if self._end <= self._allocated or not self._pad(file, data, chunk.position):
            self.writes += write_full(file, data, chunk.position)
            self.bytes_written += len(data)

    def _pad(self, file: File, data: bytes, position: int) -> bool:
        """Write with zeros behind, for the writes to come; False if there is no room for them.

        A tail of zeros is no damage to recovery, and a write that is lost in it shows as zeros.
        """
        room = self._options.segment_bytes - self._end
        zeros = min(self._options.preallocate_bytes, room)
        if zeros <= 0:
            return False
        try:
            self.writes += write_full(file, data + bytes(zeros), position)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False  # a part of it may be there: the write of the data alone covers that
        self.bytes_written += len(data)
        self._allocated = self._end + zeros
        return True

    def trim(self) -> None:
        """Cut the zeros off. Not synced: at worst they are there again, and do no harm."""
        if self._file is not None and self._allocated > self._end:
            self._file.truncate(self._end)
            self._allocated = self._end

    def sync(self) -> None:
        """Put what was written on disk. Raises ``SyncFailed``."""
        if self.dirty:
            self._sync(self._open_file())
            self.dirty = False

    def cut(self, position: int) -> None:
        """Take back what was written from ``position`` on, durably."""
        file = self._open_file()
        file.truncate(position)
        file.fsync()
        self._end = self._allocated = position
        self.dirty = False

    def close(self) -> None:
        """Close the file. All in it is synced or given up, so that an error tells nothing."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _open_file(self) -> File:
        if self._file is None:
            raise OSError(errno.EBADF, "no segment is open")
        return self._file

    def _sync(self, file: File) -> None:
        began = perf_counter()
        try:
            file.fdatasync()
        except OSError as error:
            raise SyncFailed(error) from error
        took = perf_counter() - began
        self.fsyncs += 1
        self.sync_seconds = took
        mean = self.sync_seconds_mean
        self.sync_seconds_mean = mean + (took - mean) / 16 if mean else took


class Flush:
    """Everything that was queued, on its way to disk. Made by ``Log.begin_flush``."""

    __slots__ = (
        "_writer",
        "chunks",
        "error",
        "failed",
        "ran",
        "resume",
        "rotated",
        "started_ms",
        "sync",
        "synced",
        "written",
    )

    def __init__(
        self, writer: SegmentWriter, chunks: list[Chunk], started_ms: int, *, sync: bool
    ) -> None:
        self._writer = writer
        self.chunks = chunks
        self.started_ms = started_ms
        self.sync = sync
        self.ran = False
        self.written = 0  # chunks written whole
        self.rotated = False  # whether a segment was closed, which syncs all written before ...
        self.synced = 0  # ... which are this many of the chunks
        self.failed: str | None = None
        self.error: OSError | None = None
        # After "full": (segment id, position, whether its file is still to be made).
        self.resume: tuple[int, int, bool] | None = None

    def run(self) -> None:
        """Write and, if the policy asks for it, sync. Blocks; on any thread; never raises.

        One write per segment, one fdatasync at most besides those of a rotation. The outcome
        is kept for ``Log.end_flush``. Once only: nothing that failed is tried again.
        """
        if self.ran:
            return
        self.ran = True
        create = False
        try:
            for chunk in self.chunks:
                create = chunk.create
                if create:
                    self._writer.open_next(chunk)
                    create = False
                    self.rotated = True
                    self.synced = self.written
                self._writer.write(chunk)
                self.written += 1
            if self.sync:
                self._writer.sync()
        except SyncFailed as error:
            self.failed, self.error = "fatal", error.error
        except OSError as error:
            self.fail(error, create=create)

    def fail(self, error: OSError, *, create: bool) -> None:
        """Note that writing the chunk behind those written failed, and undo it where one can.

        ``create`` tells that its segment could not be made.
        """
        self.ran = True
        self.error = error
        self.failed = "full" if error.errno in _FULL and self._undo(create=create) else "fatal"

    def _undo(self, *, create: bool) -> bool:
        """After a full disk: leave nothing of the chunk that failed. Tell whether that worked.

        What was released before is synced then too: by the cut, or by closing its segment.
        """
        chunk = self.chunks[self.written]
        self.resume = (chunk.segment_id, chunk.position, create)
        if create:
            # Its file holds at most a torn header, which recovery takes for what it is, and
            # the next attempt empties it.
            self.resume = (chunk.segment_id, SEGMENT_HEADER_BYTES, True)
            return True
        try:
            self._writer.cut(chunk.position)
        except OSError as error:
            self.error = error
            return False
        return True
