"""All of the database's state, and the one way to change it.

`State.evolve` applies a log entry, live and in recovery alike. It is total: an entry that makes no
sense is ignored and counted. With the journal on it notes how to undo each entry until that is
released, so that storage can put speculative state back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

from ._aging import NEVER, Aging
from ._entries import ApplyEvent, Entry, Limits
from ._evolve import EVOLVE, evolve_apply
from ._idempotency import Remembered
from ._index import Index
from ._instance import Instance, Tombstone
from ._instance_map import InstanceMap
from ._journal import Undo, undo
from ._lookup import (
    allowed_events,
    get_instance,
    get_machine,
    list_depends_on,
    list_instances,
    list_machines,
)
from ._machine import Machine
from ._snapshot import Frozen, digest, fill, freeze


class Group:
    """All that belongs to one machine name: versions as registered, and instances in order.

    A group outlives its versions and instances; it also holds instances of a machine that nobody
    has registered (any more).
    """

    __slots__ = ("by_state", "instances", "name", "versions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[int, Machine] = {}
        self.instances = Index(name)
        self.by_state: dict[str, Index] = {}

    def state_index(self, state: str) -> Index:
        """Return the instances in a state, by entry into it; its `name` is the one string kept."""
        index = self.by_state.get(state)
        if index is None:
            index = self.by_state[state] = Index(state)
        return index


class State:
    """Machines, instances, tombstones and idempotency keys at one offset.

    Read freely; only `evolve`, `rollback` and `released` change it. Not thread-safe.

    `last_timestamp` (Unix milliseconds) never falls. `last_flush_all` is the offset of the last
    FlushAll, 0 for none. `touched` holds for each machine the offset of the latest entry about it
    or its instances: what a list of them depends on. `last_offset` is that of the last entry.
    `ignored` counts entries that made no sense, by reason. `limits` are those in force.
    """

    def __init__(self, *, journal: bool = False) -> None:
        self.instances = InstanceMap()
        self.tombstones: Aging[Tombstone] = Aging()
        self.keys: Aging[Remembered] = Aging()
        self.groups: dict[str, Group] = {}
        self.everything = Index("")
        self.touched: dict[str, int] = {}
        self.limits = Limits()
        self.last_timestamp = 0
        self.last_offset = 0
        self.last_flush_all = 0
        self.flushed: tuple[int, int] = (0, 0)
        self.epoch = 0
        self.sweep_at = NEVER
        self.ignored: Counter[str] = Counter()
        self.journal: deque[Undo] | None = deque() if journal else None
        # What decide worked out for the entry that it just returned; evolve need not do it again.
        self.prepared_for: object = None
        self.prepared: Any = None
        self.prepared_instance: Instance | None = None

    def evolve(self, entry: Entry, offset: int) -> None:
        """Apply an entry at its offset; offsets rise from call to call. Never raises.

        Reads no clock, no randomness and no configuration, so that a replay agrees.
        """
        if type(entry) is ApplyEvent:
            evolve_apply(self, entry, offset)
        else:
            EVOLVE[type(entry)](self, entry, offset)

    def start_journal(self) -> None:
        """Note from here on how to undo each entry."""
        if self.journal is None:
            self.journal = deque()

    def released(self, offset: int) -> None:
        """Forget how to undo the entries up to and including the offset."""
        journal = self.journal
        if journal:
            if journal[-1][0] <= offset:
                journal.clear()
                return
            while journal[0][0] <= offset:
                journal.popleft()

    def rollback(self, after: int) -> int:
        """Undo, newest first, every entry whose offset is higher than `after`; return how many.

        Only entries since `start_journal` that are not released can be undone.
        """
        self.prepared_for = self.prepared = self.prepared_instance = None
        journal = self.journal
        count = 0
        while journal and journal[-1][0] > after:
            undo(self, journal.pop())
            count += 1
        return count

    @classmethod
    def load(cls, blocks: Iterable[tuple[str, Sequence[Any]]], *, journal: bool = False) -> State:
        """Return the state that the blocks of a dump make; raise MalformedSnapshot."""
        state = cls(journal=journal)
        fill(state, blocks)
        return state

    def freeze(self) -> Frozen:
        """Return a copy of the state, for one `dump`, in less than a millisecond."""
        return freeze(self)

    def digest(self) -> str:
        """Return a SHA-256 in hex over all that a replay must rebuild."""
        return digest(self)

    # -- what is asked of it; see _lookup ---------------------------------------------------

    get_instance = get_instance
    get_machine = get_machine
    list_instances = list_instances
    list_machines = list_machines
    list_depends_on = list_depends_on
    allowed_events = allowed_events

    @property
    def machine_count(self) -> int:
        """How many machine versions are registered."""
        return sum(len(group.versions) for group in self.groups.values())

    @property
    def last_machine_offset(self) -> int:
        """The offset that a list of machines rests on: of the newest one, or of a FlushAll."""
        offsets = (m.offset for group in self.groups.values() for m in group.versions.values())
        return max(offsets, default=self.last_flush_all)

    # -- what evolve is made of --------------------------------------------------------------

    @property
    def machines(self) -> dict[tuple[str, int], Machine]:
        """The registered machines by name and version; a new dict."""
        return {
            (group.name, version): machine
            for group in self.groups.values()
            for version, machine in group.versions.items()
        }

    def group(self, name: str) -> Group:
        """Return the group of a machine name, made where there was none."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name)
        return group

    def place(self, instance: Instance) -> None:
        """Put an instance into the dict and the indexes."""
        group = self.groups[instance.machine]
        self.instances.put(instance)
        self.everything.add(instance.created_offset, instance.id)
        group.instances.add(instance.created_offset, instance.id)
        group.state_index(instance.state).add(instance.state_offset, instance.id)

    def displace(self, instance: Instance) -> None:
        """Take an instance out of the dict and the indexes."""
        group = self.groups[instance.machine]
        self.instances.remove(instance.id)
        self.everything.discard(instance.created_offset, instance.id)
        group.instances.discard(instance.created_offset, instance.id)
        group.by_state[instance.state].discard(instance.state_offset, instance.id)

    def tombstone_at(self, instance_id: str, now: int) -> Tombstone | None:
        """Return the tombstone that keeps an id taken at a time (Unix milliseconds)."""
        tombstone = self.tombstones.by_key.get(instance_id)
        if tombstone is None or self.expired(tombstone.deleted_at, now):
            return None
        return tombstone

    def remembered_at(self, key: str, now: int) -> Remembered | None:
        """Return what is remembered under a scoped key at a time (Unix milliseconds)."""
        record = self.keys.by_key.get(key)
        if record is None or self.expired(record.timestamp, now):
            return None
        return record

    def expired(self, timestamp: int, now: int) -> bool:
        """Return whether what was remembered at a time is too old at another.

        What the original wrote has no time; it ages from the first time that any entry told.
        """
        return max(timestamp, self.epoch or now) + self.limits.idempotency_retention_ms <= now

    def schedule_sweep(self) -> None:
        """Work out when the next record becomes too old, at once where there are too many."""
        limits = self.limits
        keys = self.keys.queue
        tombstones = self.tombstones.queue
        if (
            len(keys) > limits.idempotency_max_keys
            or self.keys.bytes > limits.idempotency_max_bytes
            or len(tombstones) > limits.idempotency_max_keys
        ):
            self.sweep_at = 0
            return
        oldest = [records[0].timestamp for records in (keys, tombstones) if records]
        if not oldest:
            self.sweep_at = NEVER
            return
        self.sweep_at = max(min(oldest), self.epoch) + limits.idempotency_retention_ms
