"""Events as they come, counted by machine; reads no clock of its own."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rstmdb_protocol import EventMessage

__all__ = ["LATEST", "Row", "Sample", "Traffic"]

LATEST = 12
"""Transitions that are kept to be shown."""

_WINDOW_SECS = 10
_HISTORY = 60


@dataclass(frozen=True, slots=True)
class Row:
    """A machine: its events in all and a second, over the last ten whole seconds."""

    machine: str
    events: int
    per_sec: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What a moment looks like. Rates are events a second, over the last ten whole seconds."""

    events: int
    per_sec: float
    machines: tuple[Row, ...]
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    """Instances by machine and state."""


class Traffic:
    """Counts events. Times are seconds of any clock that does not go back."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._total: Counter[str] = Counter()
        self._seconds: deque[tuple[int, Counter[str]]] = deque()
        self.latest: deque[tuple[float, EventMessage]] = deque(maxlen=LATEST)
        """The newest transitions with their times, the newest last."""

    def take(self, event: EventMessage, now: float) -> None:
        """Count an event."""
        self._total[event.machine] += 1
        self.latest.append((now, event))
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            while self._seconds[0][0] <= second - _HISTORY:
                self._seconds.popleft()
        self._seconds[-1][1][event.machine] += 1

    def sample(self, now: float, states: dict[str, dict[str, int]]) -> Sample:
        """Totals and rates; machines with the most traffic first."""
        recent: Counter[str] = Counter()
        for second, counts in self._seconds:
            if int(now) - _WINDOW_SECS <= second < int(now):
                recent.update(counts)
        span = min(float(_WINDOW_SECS), max(now - self._began, 1.0))
        names = sorted(set(self._total) | set(states), key=lambda m: (-recent[m], m))
        rows = tuple(Row(name, self._total[name], recent[name] / span) for name in names)
        rate = recent.total() / span
        return Sample(self._total.total(), rate, rows, states)

    def per_second(self, now: float, seconds: int) -> list[int]:
        """Events in each of the last seconds, the oldest first; the one that runs is left out."""
        counts = {second: found.total() for second, found in self._seconds}
        return [counts.get(int(now) - back, 0) for back in range(seconds, 0, -1)]
