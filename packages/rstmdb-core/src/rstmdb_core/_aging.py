"""What is remembered for a while: idempotency keys and tombstones, the oldest out first.

A dict to find them and a queue to let them go. A record leaves when its age, counted between
entries' timestamps, reaches the retention, or when there are too many. Few leave per entry, so that
a night's worth of them never holds up one request; one that is too old no longer counts,
whether or not it has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

from ._queue import Queue

SWEEP: Final = 64
"""Records that one entry lets go at most; more than the one that it can add."""
NEVER: Final = 1 << 63


class _Record(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def size(self) -> int: ...


R = TypeVar("R", bound=_Record)


class Aging(Generic[R]):
    """Records by key, in the order of their coming.

    `queue` may hold records that `by_key` no longer does: replaced ones, once they were too old.
    """

    __slots__ = ("by_key", "bytes", "queue")

    def __init__(self, records: Iterable[R] = ()) -> None:
        self.by_key: dict[str, R] = {}
        self.queue: Queue[R] = Queue()
        self.bytes = 0
        for record in records:
            self.add(record)

    def add(self, record: R) -> R | None:
        """Remember a record; return the one that it replaces."""
        replaced = self.by_key.get(record.key)
        self.by_key[record.key] = record
        self.queue.append(record)
        self.bytes += record.size
        return replaced

    def undo_add(self, record: R, replaced: R | None) -> None:
        """Forget the record that came last."""
        self.queue.pop()
        self.bytes -= record.size
        if replaced is None:
            del self.by_key[record.key]
        else:
            self.by_key[record.key] = replaced

    def pop(self) -> tuple[R, bool]:
        """Let the oldest record go; return it and whether it could still be found by its key."""
        record = self.queue.popleft()
        self.bytes -= record.size
        current = self.by_key.get(record.key) is record
        if current:
            del self.by_key[record.key]
        return record, current

    def undo_pop(self, record: R, current: bool) -> None:
        """Put back the record that went last."""
        self.queue.appendleft(record)
        self.bytes += record.size
        if current:
            self.by_key[record.key] = record
