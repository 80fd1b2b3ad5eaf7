"""Waiting until an instance reaches a state: a position in the log, then a look, then the log."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing
from typing import TYPE_CHECKING

from msgspec import Struct

import rstmdb_core as core

from ._errors import WaitTimeout

if TYPE_CHECKING:
    from ._database import Database
    from ._watch import Watch

__all__ = ["Reached", "wait_for_state"]


class Reached(Struct, frozen=True):
    """The awaited state, and the offset of the record since which it holds."""

    instance_id: str
    state: str
    wal_offset: int


def wait_for_state(
    database: Database, instance_id: str, states: str | Collection[str], timeout: float | None
) -> Reached:
    """See Database.wait_for_state."""
    wanted = frozenset([states] if isinstance(states, str) else states)
    deadline = None if timeout is None else time.monotonic() + timeout
    with closing(database.watch(instance_id=instance_id)) as watch:
        # Only now: what happens behind this look is in the log behind the watch's position.
        found = database.get_instance(instance_id)
        if found.state in wanted:
            return Reached(instance_id, found.state, found.last_wal_offset)
        known = database.get_machine(found.machine, found.version).definition["states"]
        if wanted.isdisjoint(known):
            raise ValueError(
                f"{', '.join(sorted(wanted)) or 'nothing'}: no state of {found.machine} version "
                f"{found.version}, which has {', '.join(known)}"
            )
        state = found.state
        while True:
            released = database.wait_for_records(watch, deadline)
            if released is None:
                database.check_readable()
                raise WaitTimeout(
                    f"{instance_id} did not reach {' or '.join(sorted(wanted))} within "
                    f"{timeout} s; its state is {state}",
                    state,
                )
            for offset, entry in _read(database, watch, released):
                if isinstance(entry, core.ApplyEvent):
                    if entry.instance_id == instance_id:
                        state = entry.to_state
                        if state in wanted:
                            return Reached(instance_id, state, offset)
                elif _ends(entry, instance_id):
                    raise core.InstanceNotFound(
                        f"instance {instance_id!r} was deleted", {"instance_id": instance_id}
                    )


def _read(database: Database, watch: Watch, released: int) -> list[tuple[int, core.Entry]]:
    """A page of entries; the watch's position moves behind it."""
    found, watch.position = database.read_events(watch.position + 1, released)
    return list(found)


def _ends(entry: core.Entry, instance_id: str) -> bool:
    deleted = isinstance(entry, core.DeleteInstance) and entry.instance_id == instance_id
    return deleted or isinstance(entry, core.FlushAll)
