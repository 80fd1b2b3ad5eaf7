"""An ordered set of instance ids that grows at its end.

Ids are ordered by a key, a log offset that rises from one addition to the next. They lie in chunks
of some hundred; a chunk is a dict from id to key in the order of keys. So an addition and a removal
cost a dictionary operation, a page costs its length plus a walk over chunk sizes, and nothing ever
copies more than a chunk, nor does freezing, which shares them. Dicts of strings and integers are
nothing to the garbage collector. Only a rollback adds elsewhere than at the end; that sorts one
chunk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final

# 682 entries are what a dict of 1024 slots holds before it grows.
_CAPACITY: Final = 682
_SPARSE: Final = 64
_MERGED: Final = 400


class Index:
    """Ids of instances in the order of an offset; `name` is what they have in common."""

    __slots__ = ("_chunks", "_newest", "_shared", "_starts", "count", "name")

    def __init__(self, name: str, items: Iterable[tuple[str, int]] = ()) -> None:
        """Hold the items, (id, key) in rising order of keys."""
        self.name = name
        self.count = 0
        # _starts[i] is at most every key of _chunks[i] and above all of _chunks[i - 1].
        self._starts: list[int] = []
        self._chunks: list[dict[str, int]] = []
        self._newest = 0
        # Identities of chunks that a frozen copy reads, too.
        self._shared: set[int] = set()
        rest = iter(items)
        while chunk := dict(islice(rest, _CAPACITY)):
            self._starts.append(next(iter(chunk.values())))
            self._chunks.append(chunk)
            self.count += len(chunk)
            self._newest = next(reversed(chunk.values()))
        if not self._chunks:
            self._starts.append(0)
            self._chunks.append({})

    def __len__(self) -> int:
        return self.count

    def add(self, key: int, instance_id: str) -> None:
        """Put an id at its key's place, in constant time where the key is the highest yet."""
        if key < self._newest:
            self._insert(key, instance_id)
            return
        chunk = self._chunks[-1]
        if len(chunk) >= _CAPACITY:
            chunk = {}
            self._chunks.append(chunk)
            self._starts.append(key)
        elif self._shared and id(chunk) in self._shared:
            chunk = self._own(-1)
        chunk[instance_id] = key
        self._newest = key
        self.count += 1

    def discard(self, key: int, instance_id: str) -> None:
        """Take out an id that was put at this key."""
        starts = self._starts
        at = -1 if key >= starts[-1] else bisect_right(starts, key) - 1
        chunk = self._chunks[at]
        if self._shared and id(chunk) in self._shared:
            chunk = self._own(at)
        del chunk[instance_id]
        self.count -= 1
        # The last chunk stays however empty: it is about to be filled.
        if at >= 0 and (len(chunk) == _SPARSE or not chunk):
            self._tidy(at)

    def after(self, key: int) -> Iterator[str]:
        """Yield the ids behind a key, in order; the index must not change meanwhile."""
        starts = self._starts
        at = max(bisect_right(starts, key) - 1, 0)
        for instance_id, own in self._chunks[at].items():
            if own > key:
                yield instance_id
        for chunk in islice(self._chunks, at + 1, None):
            yield from chunk

    def skip(self, count: int) -> Iterator[str]:
        """Yield the ids but the first `count`, in order, whole chunks skipped by their size."""
        chunks = iter(self._chunks)
        for chunk in chunks:
            size = len(chunk)
            if count < size:
                yield from islice(chunk, count, None)
                break
            count -= size
        for chunk in chunks:
            yield from chunk

    def rank(self, key: int) -> int:
        """Return how many ids are put at this key or before it."""
        at = max(bisect_right(self._starts, key) - 1, 0)
        before = sum(map(len, islice(self._chunks, at)))
        return before + sum(own <= key for own in self._chunks[at].values())

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield (start, size) of each chunk: no key before its start, none behind the next's."""
        return zip(self._starts, map(len, self._chunks), strict=True)

    def items_after(self, key: int) -> Iterator[tuple[int, str]]:
        """Yield (key, id) behind a key, in order of keys."""
        at = max(bisect_right(self._starts, key) - 1, 0)
        for chunk in islice(self._chunks, at, None):
            for instance_id, own in chunk.items():
                if own > key:
                    yield own, instance_id

    def freeze(self) -> Iterator[str]:
        """Return the ids as they are now, in order, to be read once, from any thread."""
        chunks = self._chunks.copy()
        self._shared = set(map(id, chunks))
        return chain.from_iterable(chunks)

    def _own(self, at: int) -> dict[str, int]:
        self._shared.discard(id(self._chunks[at]))
        chunk = self._chunks[at] = self._chunks[at].copy()
        return chunk

    def _insert(self, key: int, instance_id: str) -> None:
        at = max(bisect_right(self._starts, key) - 1, 0)
        items = [*self._chunks[at].items(), (instance_id, key)]
        items.sort(key=_key_of)
        self._starts[at] = min(self._starts[at], key)
        self.count += 1
        if len(items) <= _CAPACITY:
            self._chunks[at] = dict(items)
            return
        half = len(items) // 2
        self._chunks[at : at + 1] = [dict(items[:half]), dict(items[half:])]
        self._starts.insert(at + 1, items[half][1])

    def _tidy(self, at: int) -> None:
        """Drop an empty chunk, or merge a sparse one into its neighbour to free its memory."""
        chunks = self._chunks
        chunk = chunks[at]
        if not chunk:
            del chunks[at]
            del self._starts[at]
        elif len(chunk) + len(chunks[at + 1]) <= _MERGED:
            chunks[at : at + 2] = [{**chunk, **chunks[at + 1]}]
            del self._starts[at + 1]
        else:
            chunks[at] = dict(chunk.items())


def _key_of(item: tuple[str, int]) -> int:
    return item[1]
