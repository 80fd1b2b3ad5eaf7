"""The small interface through which storage reaches the log.

Offsets are opaque rising integers here; 0 stands before every record. Local segments
(rstmdb_wal.Log) implement it; a replicated log could stand in for them.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["FlushPort", "LogPort"]


class FlushPort(Protocol):
    """The blocking half of a flush, for any thread."""

    def run(self) -> None:
        """Write and sync. Never raises; the outcome is read by `LogPort.end_flush`."""


class LogPort(Protocol):
    """Append batches, learn what is durable, read from an offset, drop what lies before one."""

    @property
    def head(self) -> int:
        """Offset of the last record appended."""

    @property
    def released(self) -> int:
        """Offset of the last record that may be shown."""

    @property
    def durable(self) -> int:
        """Offset of the last record that is synced."""

    @property
    def earliest(self) -> int:
        """Where reading can begin."""

    def reaches_back_to(self, offset: int) -> bool:
        """Whether all records at or above an offset are kept."""

    @property
    def failed(self) -> Exception | None:
        """Why the log takes nothing any more, or None."""

    def append(self, kind: int, payload: bytes) -> int:
        """Queue one record and return its offset."""

    def begin_batch(self, *, atomic: bool) -> None:
        """Begin to stage records that are committed or given up together."""

    def stage(self, kind: int, payload: bytes) -> int:
        """Add a record to the batch and return the offset that it will have."""

    def commit_batch(self) -> None:
        """Queue the staged records."""

    def abort_batch(self) -> None:
        """Give the staged records up, as if there had been no batch."""

    def rotate(self) -> None:
        """Let the next record begin a new segment."""

    def write_in_place(self, now_ms: int) -> bool:
        """Write and release what is queued at once; False where that takes a flush."""

    def begin_flush(self, now_ms: int, *, force_sync: bool = False) -> FlushPort | None:
        """Take what is queued, or None when there is nothing to write or to sync."""

    def end_flush(self, flush: Any) -> Any:
        """Take in the outcome of a flush: what is released and durable now, what failed."""

    def sync_due_ms(self) -> int | None:
        """When the next timed sync is due, on the clock of `begin_flush`."""

    def read(self, from_offset: int, *, limit: int, max_bytes: int) -> list[Any]:
        """Released records at or after an offset; safe from any thread."""

    def drop_before(self, offset: int) -> tuple[int, int]:
        """Delete what lies wholly before an offset: segments and bytes that went."""

    def close(self) -> None:
        """Write and sync what is left."""
