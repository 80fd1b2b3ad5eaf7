"""What is kept of an instance, living or deleted."""

from __future__ import annotations

import msgspec


class Instance(msgspec.Struct, frozen=True, gc=False):
    """An instance as its last entry left it; a change stores a new one.

    `ctx` is the context as JSON in UTF-8. Times are Unix milliseconds. `created_offset` orders
    lists; `state_offset` is the offset of the entry that entered the current state (an event that
    leads back to the same state does not enter it) and orders lists with a state filter.
    """

    id: str
    machine: str
    version: int
    state: str
    ctx: bytes
    last_event_id: str | None
    last_wal_offset: int
    created_at: int
    updated_at: int
    created_offset: int
    state_offset: int


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """What a deleted instance leaves: its id stays taken for the idempotency retention.

    `offset` is that of the entry that deleted it, `deleted_at` its time in Unix milliseconds. The
    last state and the two list positions let a pager go on from an instance deleted meanwhile.
    """

    id: str
    machine: str
    version: int
    offset: int
    deleted_at: int
    state: str
    created_offset: int
    state_offset: int

    @property
    def key(self) -> str:
        """The name it is found by."""
        return self.id

    @property
    def timestamp(self) -> int:
        """The time that its age counts from, in Unix milliseconds."""
        return self.deleted_at

    @property
    def size(self) -> int:
        """Tombstones are bounded in number, not in bytes."""
        return 0
