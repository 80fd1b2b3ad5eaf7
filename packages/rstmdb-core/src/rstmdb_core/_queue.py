"""A queue that can be frozen in an instant.

Like collections.deque as far as ageing needs it; but copying a deque of a million records takes
tens of milliseconds. Here records lie in chunks that only ever grow at their end, so that a
frozen queue is the list of chunks and two positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final, Generic, TypeVar

_CAPACITY: Final = 1024

T = TypeVar("T")


class Queue(Generic[T]):
    """First in, first out; the two ends can be undone."""

    __slots__ = ("_chunks", "_count", "_head")

    def __init__(self) -> None:
        # No chunk is empty; the first `_head` places of the first one are behind us.
        self._chunks: deque[list[T]] = deque()
        self._head = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return islice(chain.from_iterable(self._chunks), self._head, None)

    def __getitem__(self, at: int) -> T:
        """Return the oldest; `at` is 0."""
        return self._chunks[0][self._head + at]

    def append(self, item: T) -> None:
        """Add the newest."""
        chunks = self._chunks
        if chunks and len(chunks[-1]) < _CAPACITY:
            chunks[-1].append(item)
        else:
            chunks.append([item])
        self._count += 1

    def pop(self) -> T:
        """Take back the newest."""
        chunk = self._chunks[-1]
        item = chunk.pop()
        self._count -= 1
        if not chunk:
            self._chunks.pop()
        return item

    def popleft(self) -> T:
        """Take out the oldest."""
        chunk = self._chunks[0]
        item = chunk[self._head]
        self._head += 1
        self._count -= 1
        if self._head == len(chunk):
            self._head = 0
            self._chunks.popleft()
        return item

    def appendleft(self, item: T) -> None:
        """Put back what was taken out last."""
        self._count += 1
        if self._head:
            self._head -= 1  # it still lies there
        else:
            self._chunks.appendleft([item])

    def freeze(self) -> Iterator[T]:
        """Return the items as they are now, to be read once, from any thread.

        Valid as long as nothing older than now is undone.
        """
        chunks = list(self._chunks)
        if chunks:
            chunks[-1] = chunks[-1].copy()
        return islice(chain.from_iterable(chunks), self._head, self._head + self._count)
