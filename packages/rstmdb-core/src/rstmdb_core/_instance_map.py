"""Living instances by id, which can be frozen in an instant.

One dict would have to be copied for a snapshot: 50 to 100 milliseconds for a million instances, in
which no request is answered. So there are many small ones. Freezing copies the list of them;
whoever writes to one afterwards copies that one first, some thousand entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ._instance import Instance

_SHARDS: Final = 1024  # a power of two
_MASK: Final = _SHARDS - 1


class InstanceMap:
    """A map from id to Instance, in no order."""

    __slots__ = ("_shards", "_shared")

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        self._shards: list[dict[str, Instance]] = [{} for _ in range(_SHARDS)]
        self._shared: set[int] = set()
        shards = self._shards
        for instance in instances:
            instance_id = instance.id
            shards[hash(instance_id) & _MASK][instance_id] = instance

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __contains__(self, instance_id: str) -> bool:
        return instance_id in self._shards[hash(instance_id) & _MASK]

    def __getitem__(self, instance_id: str) -> Instance:
        return self._shards[hash(instance_id) & _MASK][instance_id]

    def get(self, instance_id: str) -> Instance | None:
        """Return the instance of an id, or None."""
        return self._shards[hash(instance_id) & _MASK].get(instance_id)

    def all_of(self, ids: Iterable[str]) -> list[Instance]:
        """Return the instances of these ids; raise KeyError for one that there is not."""
        shards = self._shards
        return [shards[hash(instance_id) & _MASK][instance_id] for instance_id in ids]

    def put(self, instance: Instance) -> None:
        """Hold an instance under its id, in the place of the one before."""
        instance_id = instance.id
        at = hash(instance_id) & _MASK
        if at in self._shared:
            self._own(at)
        self._shards[at][instance_id] = instance

    def remove(self, instance_id: str) -> None:
        """Let go the instance of an id; raise KeyError where there is none."""
        at = hash(instance_id) & _MASK
        if at in self._shared:
            self._own(at)
        del self._shards[at][instance_id]

    def freeze(self) -> InstanceMap:
        """Return a map that stays as this one is now, to read, from any thread."""
        frozen = InstanceMap.__new__(InstanceMap)
        frozen._shards = self._shards.copy()
        self._shared = set(range(_SHARDS))
        frozen._shared = self._shared.copy()
        return frozen

    def _own(self, at: int) -> None:
        self._shared.discard(at)
        self._shards[at] = self._shards[at].copy()
