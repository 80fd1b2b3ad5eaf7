"""Whether and when a call is sent again: the one policy of both clients."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from ._errors import ConnectionLost, OutcomeUnknown, RstmdbError, ServerError, TlsSetupFailed

__all__ = ["Retries", "backoff_secs"]

FIRST_SECS = 0.05
MOST_SECS = 2.0
MOST_REFUSALS = 4
"""How many retryable errors of the server one call puts up with before it raises the next."""


def backoff_secs(rng: random.Random) -> Iterator[float]:
    """Yield pauses in seconds: between half of and the whole of 0.05, 0.1, 0.2 ... 2."""
    longest = FIRST_SECS
    while True:
        yield longest * (0.5 + rng.random() / 2)
        longest = min(longest * 2, MOST_SECS)


class Retries:
    """The tries of one call, counted from its first failure.

    What never reached the server is always sent again. What may have reached it is sent
    again only if the call is `repeatable`; the same goes for what the server refused with a
    retryable error. All of it for at most `timeout_secs`.
    """

    def __init__(
        self,
        op: str,
        repeatable: bool,
        timeout_secs: float,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._op = op
        self._repeatable = repeatable
        self._clock = clock
        self._give_up = clock() + timeout_secs
        self._pauses = backoff_secs(rng)
        self._refusals = 0

    def pause_secs(self, problem: RstmdbError) -> float:
        """How long to wait before the next try; raises what is not to be tried again."""
        if isinstance(problem, ServerError):
            self._refusals += 1
            if not (problem.retryable and self._repeatable and self._refusals <= MOST_REFUSALS):
                raise problem
        elif isinstance(problem, ConnectionLost) and problem.sent and not self._repeatable:
            raise OutcomeUnknown(
                f"{self._op}: {problem}; it may have been done or not, and without an "
                "idempotency key it is not sent again"
            ) from problem
        if isinstance(problem, TlsSetupFailed) or self._clock() >= self._give_up:
            raise problem
        return next(self._pauses)
