"""How long to wait before the next try: exponential, with jitter, bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["backoff_secs"]

FIRST_SECS = 0.05
MOST_SECS = 2.0


def backoff_secs(rng: random.Random) -> Iterator[float]:
    """Yield pauses in seconds: between half of and the whole of 0.05, 0.1, 0.2 ... 2."""
    longest = FIRST_SECS
    while True:
        yield longest * (0.5 + rng.random() / 2)
        longest = min(longest * 2, MOST_SECS)
