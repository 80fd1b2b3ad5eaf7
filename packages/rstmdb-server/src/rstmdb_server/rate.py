"""How often a connection may ask."""

from __future__ import annotations

from time import perf_counter

__all__ = ["TokenBucket"]


class TokenBucket:
    """A rate with a burst of one second's worth."""

    __slots__ = ("_at", "_tokens", "per_second")

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._tokens = float(per_second)
        self._at = perf_counter()

    def take(self, now: float) -> bool:
        """Take one token, if there is one; `now` on time.perf_counter."""
        refilled = self._tokens + (now - self._at) * self.per_second
        self._tokens = min(float(self.per_second), refilled)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
