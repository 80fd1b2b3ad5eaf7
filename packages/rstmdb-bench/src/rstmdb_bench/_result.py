"""What a run has seen: counts, latencies, and both over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._histogram import Histogram

__all__ = ["LoadResult"]


@dataclass(slots=True)
class LoadResult:
    """What was answered from the end of the warm-up on, the last requests included.

    `intervals` holds the latencies of each piece of `interval_seconds` in which an answer came,
    by its number from the end of the warm-up. `late` is only filled by an open loop: how long
    after its time the generator itself sent a request.
    """

    ok: int = 0
    errors: int = 0
    unanswered: int = 0
    first_error: str | None = None
    started_ns: int = 0
    ended_ns: int = 0
    interval_seconds: float = 1.0
    latencies: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)
    intervals: dict[int, Histogram] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the end of the warm-up to the last answer."""
        return (self.ended_ns - self.started_ns) / 1e9

    @property
    def rate_per_second(self) -> float:
        """Answers with status ok per second."""
        return self.ok / self.seconds if self.seconds > 0 else 0.0

    def merge(self, other: LoadResult) -> None:
        """Add what another process has seen."""
        self.ok += other.ok
        self.errors += other.errors
        self.unanswered += other.unanswered
        self.first_error = self.first_error or other.first_error
        self.started_ns = min(self.started_ns, other.started_ns)
        self.ended_ns = max(self.ended_ns, other.ended_ns)
        self.latencies.merge(other.latencies)
        self.late.merge(other.late)
        for number, histogram in other.intervals.items():
            if number in self.intervals:
                self.intervals[number].merge(histogram)
            else:
                self.intervals[number] = histogram

    def series(self) -> dict[str, Any]:
        """Rate and latencies over time, an item an interval; the last one may be cut short."""
        numbers = range(max(self.intervals, default=-1) + 1)
        each = [self.intervals.get(number) or Histogram() for number in numbers]
        rates = [histogram.count / self.interval_seconds for histogram in each]
        return {
            "interval_seconds": self.interval_seconds,
            "rate_per_second": [round(rate, 1) for rate in rates],
            "p50_ms": [round(histogram.percentile_ns(0.5) / 1e6, 4) for histogram in each],
            "p99_ms": [round(histogram.percentile_ns(0.99) / 1e6, 4) for histogram in each],
            "max_ms": [round(histogram.max_ns / 1e6, 4) for histogram in each],
        }
