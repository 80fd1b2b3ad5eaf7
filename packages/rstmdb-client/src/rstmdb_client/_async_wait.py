"""Waiting for a state and writing optimistically, for the async client."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import anyio

import rstmdb_protocol as rcp

from ._async_watch import AsyncWatch
from ._errors import (
    ConflictError,
    ConnectFailed,
    ConnectionLost,
    InstanceNotFoundError,
    MachineNotFoundError,
    RequestTimeout,
    ServerError,
)
from ._retry import LEAST_CONNECT_SECS, Retries
from ._wait import Decide, Reached, Wait, conflict_pauses, event_of

if TYPE_CHECKING:
    import random

    from ._client import Client

__all__ = ["decide_and_apply", "wait_for_state"]

_Sleep = Callable[[float], Awaitable[None]]


async def wait_for_state(
    db: Client,
    wait: Wait,
    watch: AsyncWatch,
    timeout_secs: float | None,
    retries: Retries,
    sleep: _Sleep,
) -> Reached:
    """See Client.wait_for_state; the watch has not begun yet."""
    end = math.inf if timeout_secs is None else anyio.current_time() + timeout_secs
    least = max(end, anyio.current_time() + LEAST_CONNECT_SECS)
    async with aclosing(watch):
        try:
            with anyio.fail_after(least - anyio.current_time()):
                await _begin(watch, retries, sleep)
            reached = wait.look(watch.begun)
            if reached is None:
                with anyio.fail_after(end - anyio.current_time()):
                    reached = await _watch(db, wait, watch)
        except RequestTimeout:
            raise
        except TimeoutError as error:
            raise wait.timed_out(timeout_secs) from error
    return reached


async def _watch(db: Client, wait: Wait, watch: AsyncWatch) -> Reached:
    await _check(db, wait)
    while True:
        reached = wait.take(await watch.receive())
        if reached is not None:
            return reached


async def _begin(watch: AsyncWatch, retries: Retries, sleep: _Sleep) -> None:
    """Begin the watch, trying again as a read would."""
    while True:
        try:
            await watch.begin()
            return
        except (ServerError, ConnectFailed, ConnectionLost) as problem:
            await sleep(retries.pause_secs(problem))


async def _check(db: Client, wait: Wait) -> None:
    """Raise ValueError for states that the machine has not."""
    with suppress(InstanceNotFoundError, MachineNotFoundError):
        found = await db.get_instance(wait.instance_id)
        wait.check(await db.get_machine(found.machine, found.version))


async def decide_and_apply(
    db: Client,
    instance_id: str,
    decide: Decide,
    attempts: int,
    rng: random.Random,
    sleep: _Sleep,
) -> rcp.ApplyEventResult | None:
    """See Client.decide_and_apply."""
    pauses = conflict_pauses(rng, attempts)
    while True:
        instance = await db.get_instance(instance_id)
        decision = decide(instance)
        if decision is None:
            return None
        event, payload = event_of(decision)
        try:
            return await db.apply_event(
                instance_id, event, payload, expected_wal_offset=instance.last_wal_offset
            )
        except ConflictError:
            pause = next(pauses, None)
            if pause is None:
                raise
        await sleep(pause)
