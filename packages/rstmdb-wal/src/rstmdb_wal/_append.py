"""The part of the log that only queues: appends, batches, moving on to the next segment. No I/O."""

from __future__ import annotations

from crc32c import crc32c

from rstmdb_wal._errors import BatchTooLarge, LogFailed, LogMisused, RecordTooLarge
from rstmdb_wal._offset import MAX_POSITION, make_offset, split_offset
from rstmdb_wal._options import LogOptions
from rstmdb_wal._record import (
    COVERED,
    ENTRY_KINDS,
    FLAG_MORE,
    FLAG_OURS,
    FLAG_ZSTD,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    UNKNOWN_GAP,
    compress,
    encode,
)
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES
from rstmdb_wal._writer import Chunk


class _Batch:
    """What ``abort_batch`` goes back to, and what ``commit_batch`` needs of the last record."""

    __slots__ = ("atomic", "chunk", "closed", "head", "last", "next_offset", "pieces", "sequence")

    def __init__(self, log: Appender, *, atomic: bool) -> None:
        self.atomic = atomic
        self.chunk = log._current
        self.closed = len(log._closed)
        self.pieces = len(log._current.pieces)
        self.head = log.head
        self.next_offset = log.next_offset
        self.sequence = log.next_sequence
        self.last: tuple[int, int, int, int, bytes] | None = None


class Appender:
    """Queues records for the next flush; the writing half of ``Log``, which documents it.

    A queue is a list of chunks, one per segment, each a list of bytes to be joined: nothing
    else is kept of a record.
    """

    __slots__ = (
        "_batch",
        "_closed",
        "_current",
        "_limit",
        "_options",
        "_over",
        "_room",
        "_seed",
        "_slow_bytes",
        "durable_sequence",
        "failed",
        "head",
        "next_offset",
        "next_sequence",
    )

    next_offset: int

    def __init__(
        self, options: LogOptions, seed: int, segment_id: int, last_sequence: int, head: int
    ) -> None:
        self._options = options
        self._seed = seed
        self.next_sequence = last_sequence + 1
        self.durable_sequence = last_sequence
        self.head = head
        self._closed: list[Chunk] = []
        self._batch: _Batch | None = None
        self._over = False
        self.failed: Exception | None = None
        size = options.compress_from_bytes
        self._slow_bytes = min(size, MAX_PAYLOAD_BYTES + 1) if size else MAX_PAYLOAD_BYTES + 1
        self._go_to(segment_id, SEGMENT_HEADER_BYTES, create=True)

    # Appending. The attribute _limit is what keeps the hot path short: it is the end of the
    # segment, or -1 while something must be looked at first (a batch, a failure, a close).

    def append(self, kind: int, payload: bytes) -> int:
        """Queue one record and return its offset. No I/O; moves to the next segment when full.

        ``kind`` is 1 to 7, ``payload`` up to 16 MiB. Raises ``LogFailed``, ``RecordTooLarge``,
        ``ValueError`` for another kind.
        """
        size = len(payload)
        offset = self.next_offset
        end = offset + HEADER_BYTES + size
        if size >= self._slow_bytes or end > self._limit or kind not in ENTRY_KINDS:
            self._check_open()
            if self._batch is not None:
                raise LogMisused("a batch is open: stage the record")
            return self._put(kind, payload, 0)
        sequence = self.next_sequence
        gap = sequence - self.durable_sequence
        if gap > UNKNOWN_GAP:
            gap = UNKNOWN_GAP
        crc = crc32c(
            payload, crc32c(COVERED.pack(kind, FLAG_OURS, gap, size, sequence), self._seed)
        )
        self._current.pieces += (
            HEADER.pack(MAGIC, kind, FLAG_OURS, gap, size, crc, sequence),
            payload,
        )
        self.head = offset
        self.next_offset = end | 0  # without the room for a carry that a sum is kept with
        self.next_sequence = sequence + 1
        return offset

    def _put(self, kind: int, payload: bytes, flags: int) -> int:
        """Append with every check; also staged records and compressed ones."""
        if kind not in ENTRY_KINDS:
            raise ValueError(f"not a kind of entry: {kind}")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise RecordTooLarge(f"a payload of {len(payload)} bytes is above the limit of 16 MiB")
        flags |= FLAG_OURS
        stored = payload
        if len(payload) >= self._slow_bytes:
            packed = compress(payload)
            if len(packed) < len(payload):
                stored = packed
                flags |= FLAG_ZSTD
        if self.next_offset + HEADER_BYTES + len(stored) > self._room and not self._is_empty():
            if flags & FLAG_MORE:
                raise BatchTooLarge("the batch does not fit what is left of the segment")
            self._next_segment()
        if split_offset(self.next_offset)[1] + HEADER_BYTES + len(stored) > MAX_POSITION:
            raise BatchTooLarge("a segment cannot hold so much")
        offset, sequence = self.next_offset, self.next_sequence
        gap = min(sequence - self.durable_sequence, UNKNOWN_GAP)
        self._current.pieces.append(encode(kind, flags, gap, sequence, stored, self._seed))
        if self._batch is not None:
            self._batch.last = (kind, flags, gap, sequence, stored)
        self.head = offset
        self.next_offset = offset + HEADER_BYTES + len(stored)
        self.next_sequence = sequence + 1
        return offset

    def _check_open(self) -> None:
        if self.failed is not None:
            raise LogFailed(f"the log has failed: {self.failed}") from self.failed
        if self._over:
            raise LogMisused("the log is closed")

    def _is_empty(self) -> bool:
        """Tell whether the current segment holds no record; during an atomic batch: none else."""
        offset = self._batch.next_offset if self._batch and self._batch.atomic else self.next_offset
        return split_offset(offset)[1] == SEGMENT_HEADER_BYTES

    def rotate(self) -> None:
        """Let the next record go to a new segment; nothing changes if the current one is empty.

        The file is made by the flush that writes that record. Raises ``LogFailed``.
        """
        self._check_open()
        if self._batch is not None:
            raise LogMisused("a batch is open")
        if not self._is_empty():
            self._next_segment()

    def _next_segment(self) -> None:
        self._seal_current()
        if self._current.pieces:
            self._closed.append(self._current)
        self._go_to(self._current.segment_id + 1, SEGMENT_HEADER_BYTES, create=True)

    def _seal_current(self) -> None:
        chunk = self._current
        chunk.last_offset = self.head
        chunk.last_sequence = self.next_sequence - 1
        chunk.end = self.next_offset & MAX_POSITION

    def _go_to(self, segment_id: int, position: int, *, create: bool) -> None:
        self._current = Chunk(segment_id, position, self.next_sequence, self.head, create=create)
        self.next_offset = make_offset(segment_id, position)
        self._set_room(segment_id)

    def _set_room(self, segment_id: int) -> None:
        self._room = make_offset(segment_id, 0) + self._options.segment_bytes
        self._limit = -1 if self._batch is not None else self._room

    # Batches

    def begin_batch(self, *, atomic: bool) -> None:
        """Begin to stage records that can be taken back together.

        An atomic batch is written with one flush into one segment, and after a crash is there
        wholly or not at all. No flush may begin before it is committed or aborted.
        """
        self._check_open()
        if self._batch is not None:
            raise LogMisused("a batch is open already")
        self._batch = _Batch(self, atomic=atomic)
        self._limit = -1

    def stage(self, kind: int, payload: bytes) -> int:
        """Add a record to the batch; return its offset. Raises as ``append`` does.

        Also raises ``BatchTooLarge`` if the batch is atomic and passes the end of a segment
        that holds other records: then abort it, rotate and stage it again. In an empty segment
        it may pass the end: the segment then holds nothing else.
        """
        self._check_open()
        if self._batch is None:
            raise LogMisused("no batch is open")
        return self._put(kind, payload, FLAG_MORE if self._batch.atomic else 0)

    def commit_batch(self) -> None:
        """Queue the batch."""
        self._check_open()
        batch = self._batch
        if batch is None:
            raise LogMisused("no batch is open")
        if batch.atomic and batch.last is not None:
            # Only now it is known which record is the last: the one without the flag.
            kind, flags, gap, sequence, stored = batch.last
            self._current.pieces[-1] = encode(
                kind, flags & ~FLAG_MORE, gap, sequence, stored, self._seed
            )
        self._batch = None
        self._limit = self._room

    def abort_batch(self) -> None:
        """Take the batch back: sequence and offsets are as they were before it."""
        batch = self._batch
        if batch is None:
            raise LogMisused("no batch is open")
        self._batch = None
        del self._closed[batch.closed :]
        self._current = batch.chunk
        del self._current.pieces[batch.pieces :]
        self.head = batch.head
        self.next_offset = batch.next_offset
        self.next_sequence = batch.sequence
        self._set_room(self._current.segment_id)
        if self.failed is not None or self._over:
            self._limit = -1
