from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstmdb_client import (
    ConflictError,
    ConnectFailed,
    ConnectionLost,
    OutcomeUnknown,
    RateLimitedError,
    RstmdbError,
    TlsSetupFailed,
)
from rstmdb_client._retry import MOST_FAILURES, Retries, backoff_secs

REFUSED = RateLimitedError("RATE_LIMITED", "slow down", True)
LOST = ConnectionLost("gone")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def retries(*, repeatable: bool = True, clock: Clock | None = None) -> Retries:
    return Retries("OP", repeatable, 30.0, random.Random(1), clock or Clock())


@given(st.integers())
def test_pauses_grow_to_a_bound_and_are_spread(seed: int) -> None:
    pauses = backoff_secs(random.Random(seed))
    for longest in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
        assert longest / 2 <= next(pauses) <= longest


@pytest.mark.parametrize("problem", [REFUSED, LOST])
def test_what_reached_the_server_is_tried_a_few_times(problem: RstmdbError) -> None:
    tries = retries()
    for _ in range(MOST_FAILURES):
        assert tries.pause_secs(problem) > 0
    with pytest.raises(type(problem)):
        tries.pause_secs(problem)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("problem", [ConnectFailed("no"), ConnectionLost("gone", sent=False)])
def test_what_never_left_is_tried_until_the_time_is_over(
    problem: RstmdbError, repeatable: bool
) -> None:
    clock = Clock()
    tries = retries(repeatable=repeatable, clock=clock)
    for _ in range(100):
        tries.pause_secs(problem)
    clock.now += 29.9
    tries.pause_secs(problem)
    clock.now += 0.2
    with pytest.raises(type(problem)):
        tries.pause_secs(problem)


def test_what_may_have_been_done_once_is_not_done_twice() -> None:
    with pytest.raises(OutcomeUnknown, match="OP: gone") as caught:
        retries(repeatable=False).pause_secs(LOST)
    assert caught.value.__cause__ is LOST
    with pytest.raises(RateLimitedError):
        retries(repeatable=False).pause_secs(REFUSED)


@pytest.mark.parametrize(
    "problem", [ConflictError("CONFLICT", "no", False), TlsSetupFailed("no such file")]
)
def test_what_stays_as_it_is_is_not_tried_again(problem: RstmdbError) -> None:
    with pytest.raises(type(problem)):
        retries().pause_secs(problem)
