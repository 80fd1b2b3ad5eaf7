"""Waiting for a state and writing optimistically, for the blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import rstmdb_protocol as rcp

from ._errors import (
    ConflictError,
    ConnectFailed,
    ConnectionLost,
    InstanceNotFoundError,
    MachineNotFoundError,
    RequestTimeout,
    ServerError,
)
from ._retry import Retries
from ._sync_watch import SyncWatch
from ._wait import Decide, Reached, Wait, conflict_pauses, event_of

if TYPE_CHECKING:
    import random

    from ._sync import SyncClient

__all__ = ["decide_and_apply", "wait_for_state"]

_Sleep = Callable[[float], None]


def wait_for_state(
    db: SyncClient,
    wait: Wait,
    watch: SyncWatch,
    timeout: float | None,
    retries: Retries,
    sleep: _Sleep,
) -> Reached:
    """See SyncClient.wait_for_state; the watch has not begun yet."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with closing(watch):
        try:
            _begin(watch, deadline, retries, sleep)
            reached = wait.look(watch.begun)
            if reached is None:
                _check(db, wait)
            while reached is None:
                reached = wait.take(watch.receive(_left_secs(deadline)))
        except RequestTimeout:
            raise
        except TimeoutError as error:
            raise wait.timed_out(timeout) from error
    return reached


def _begin(watch: SyncWatch, deadline: float | None, retries: Retries, sleep: _Sleep) -> None:
    """Begin the watch, trying again as a read would."""
    while True:
        try:
            watch.begin(_left_secs(deadline))
            return
        except (ServerError, ConnectFailed, ConnectionLost) as problem:
            pause = retries.pause_secs(problem)
            left = _left_secs(deadline)
            if left == 0:
                raise TimeoutError(str(problem)) from problem
            sleep(pause if left is None else min(pause, left))


def _check(db: SyncClient, wait: Wait) -> None:
    """Raise ValueError for states that the machine has not."""
    with suppress(InstanceNotFoundError, MachineNotFoundError):
        found = db.get_instance(wait.instance_id)
        wait.check(db.get_machine(found.machine, found.version))


def _left_secs(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def decide_and_apply(
    db: SyncClient,
    instance_id: str,
    decide: Decide,
    attempts: int,
    rng: random.Random,
    sleep: _Sleep,
) -> rcp.ApplyEventResult | None:
    """See SyncClient.decide_and_apply."""
    pauses = conflict_pauses(rng, attempts)
    while True:
        instance = db.get_instance(instance_id)
        decision = decide(instance)
        if decision is None:
            return None
        event, payload = event_of(decision)
        try:
            return db.apply_event(
                instance_id, event, payload, expected_wal_offset=instance.last_wal_offset
            )
        except ConflictError:
            pause = next(pauses, None)
            if pause is None:
                raise
        sleep(pause)
