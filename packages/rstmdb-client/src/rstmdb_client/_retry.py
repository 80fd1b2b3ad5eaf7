"""Whether and when a call is sent again: the one policy of both clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._errors import (
    ConnectFailed,
    ConnectionLost,
    OutcomeUnknown,
    RstmdbError,
    ServerError,
    TlsSetupFailed,
)

if TYPE_CHECKING:
    import random

__all__ = ["LEAST_CONNECT_SECS", "Attempts", "Retries", "backoff_secs", "tell_of_trouble"]

FIRST_SECS = 0.05
MOST_SECS = 2.0
LEAST_CONNECT_SECS = 1.0
"""What an attempt to connect is given, however little time its caller has left."""

SHARED_SECS = 0.02
"""Less than the shortest pause, so that a call that tries again does try."""

MOST_FAILURES = 4
"""How often one call is refused, or loses its connection, before it raises the next failure.

A bound beside the time limit: the call itself may be what the server breaks off for.
"""


def backoff_secs(rng: random.Random) -> Iterator[float]:
    """Yield pauses in seconds: between half of and the whole of 0.05, 0.1, 0.2 ... 2."""
    longest = FIRST_SECS
    while True:
        yield longest * (0.5 + rng.random() / 2)
        longest = min(longest * 2, MOST_SECS)


def tell_of_trouble(what: str, problem: RstmdbError, pause_secs: float) -> None:
    """Log that something is tried again: to "rstmdb.client", as information.

    A program whose calls are slow, or whose watch is silent, then finds out why.
    """
    import logging  # late, since most programs never have anything to tell

    logging.getLogger("rstmdb.client").info(
        "%s: %s; trying again in %.3f s", what, problem, pause_secs
    )


class Retries:
    """The tries of one call, counted from its first failure.

    What never reached the server is always sent again. What may have reached it is sent
    again only if the call is `repeatable`, and a few times at most; the same goes for what the
    server refused with a retryable error. All of it for at most `timeout_secs`.
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
        self._failures = 0

    def pause_secs(self, problem: RstmdbError) -> float:
        """How long to wait before the next try; raises what is not to be tried again."""
        reached_server = isinstance(problem, ServerError)
        if isinstance(problem, ServerError):
            if not (problem.retryable and self._repeatable):
                raise problem
        elif isinstance(problem, ConnectionLost) and problem.sent:
            reached_server = True
            if not self._repeatable:
                raise OutcomeUnknown(
                    f"{self._op}: {problem}; it may have been done or not, and without an "
                    "idempotency key it is not sent again"
                ) from problem
        self._failures += reached_server
        left = self._give_up - self._clock()
        if isinstance(problem, TlsSetupFailed) or self._failures > MOST_FAILURES or left <= 0:
            raise problem
        pause = min(next(self._pauses), left)
        tell_of_trouble(self._op, problem, pause)
        return pause


class Attempts:
    """A client's attempts to connect: those who waited for one that failed share its failure.

    So does who comes right behind it. Otherwise a thousand calls would knock a thousand times,
    one after the other, and wait far longer than they are willing to.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._problem: ConnectFailed | None = None
        self._failed_at = 0.0

    @contextmanager
    def attempt(self, waiting_since: float) -> Iterator[None]:
        """Connect within this. Raises the failure of an attempt that ended since."""
        problem = self._problem
        if problem is not None and self._failed_at > waiting_since - SHARED_SECS:
            raise type(problem)(str(problem)) from problem
        try:
            yield
        except ConnectFailed as failure:
            self._problem, self._failed_at = failure, self._clock()
            raise
        self._problem = None
