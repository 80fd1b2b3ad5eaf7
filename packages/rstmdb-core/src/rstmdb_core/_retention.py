"""What is remembered for a while: when it comes, and when it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._aging import NEVER, SWEEP, Aging, R
from ._idempotency import Remembered
from ._journal import Step, added_key, popped_keys, popped_tombstones

if TYPE_CHECKING:
    from ._state import State


def remember(state: State, record: Remembered, steps: list[Step] | None) -> list[Step]:
    """Keep the outcome of a request with a key; return the steps with those that undo it."""
    if steps is None:
        steps = []
    known = state.keys.by_key.get(record.key)
    if known is not None and not state.expired(known.timestamp, state.last_timestamp):
        return steps  # the first success is what a repeat is answered with
    steps.append((added_key, (record, state.keys.add(record))))
    trim(state, steps)
    return steps


def trim(state: State, steps: list[Step]) -> None:
    """Keep the bounds after an addition."""
    keys = state.keys
    limits = state.limits
    if (
        len(keys.queue) > limits.idempotency_max_keys
        or keys.bytes > limits.idempotency_max_bytes
        or len(state.tombstones.queue) > limits.idempotency_max_keys
    ):
        steps += sweep(state, state.last_timestamp)
    elif state.sweep_at == NEVER:
        state.schedule_sweep()


def pass_time(state: State, now: int) -> list[Step]:
    """Let go what has become too old at a time (Unix milliseconds); return how to undo it."""
    if not state.epoch:
        state.epoch = now
        state.schedule_sweep()
    return sweep(state, now) if now >= state.sweep_at else []


def sweep(state: State, now: int) -> list[Step]:
    """Let go what is too old or too much, up to SWEEP of each; return how to undo it."""
    limits = state.limits
    keys = _pop(state, state.keys, now, limits.idempotency_max_bytes)
    tombstones = _pop(state, state.tombstones, now, limits.idempotency_max_bytes)
    state.schedule_sweep()
    steps: list[Step] = []
    if keys:
        steps.append((popped_keys, keys))
    if tombstones:
        steps.append((popped_tombstones, tombstones))
    return steps


def _pop(state: State, records: Aging[R], now: int, max_bytes: int) -> list[tuple[R, bool]]:
    popped: list[tuple[R, bool]] = []
    queue = records.queue
    max_count = state.limits.idempotency_max_keys
    while queue and len(popped) < SWEEP:
        within = len(queue) <= max_count and records.bytes <= max_bytes
        if within and not state.expired(queue[0].timestamp, now):
            break
        popped.append(records.pop())
    return popped
