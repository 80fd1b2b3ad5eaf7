"""Optimistic writes: look, decide, apply if nothing has changed in between, else again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import rstmdb_core as core

from ._views import ApplyResult, InstanceView

if TYPE_CHECKING:
    from ._database import Database

__all__ = ["Decision", "decide_and_apply"]

Decision: TypeAlias = str | tuple[str, dict[str, Any]] | None
"""An event, an event and its payload, or None for nothing to be done."""

FIRST_SECS = 0.001
MOST_SECS = 0.25


def decide_and_apply(
    database: Database,
    instance_id: str,
    decide: Callable[[InstanceView], Decision],
    attempts: int,
    rng: random.Random | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> ApplyResult | None:
    """See Database.decide_and_apply."""
    if attempts < 1:
        raise ValueError(f"attempts is {attempts}: at least one is needed")
    rng = rng or random.Random()
    for failures in range(attempts):
        instance = database.get_instance(instance_id)
        decision = decide(instance)
        if decision is None:
            return None
        event, payload = (decision, None) if isinstance(decision, str) else decision
        try:
            return database.apply_event(
                instance_id, event, payload, expected_wal_offset=instance.last_wal_offset
            )
        except core.Conflict:
            if failures == attempts - 1:
                raise
        # From the whole range, so that threads that met once do not meet again.
        sleep(rng.uniform(0, min(FIRST_SECS * 2.0**failures, MOST_SECS)))
    raise AssertionError("the last attempt returns or raises")
