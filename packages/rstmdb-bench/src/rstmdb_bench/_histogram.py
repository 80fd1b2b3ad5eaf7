"""Latencies in bounded memory: buckets that widen with the value, none wider than 1%."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["Histogram"]

EXACT_BITS: Final = 8
"""Values below 2**8 ns have a bucket each; above, each power of two is cut in 128."""
HALF: Final = 1 << (EXACT_BITS - 1)
MAX_BITS: Final = 42
"""Values from 2**42 ns (73 minutes) on share the last bucket."""
BUCKETS: Final = (MAX_BITS - EXACT_BITS) * HALF + 2 * HALF

CURVE: Final = (
    *(0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 98.0),
    *(99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.995, 99.999),
)
"""The percentiles of a latency distribution, closer towards the tail."""


class Histogram:
    """Counts of durations in nanoseconds; about 4,600 integers, whatever is recorded."""

    __slots__ = ("counts", "max_ns", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.max_ns = 0
        self.total_ns = 0

    def record(self, value_ns: int, times: int = 1) -> None:
        """Count a duration, `times` times."""
        shift = value_ns.bit_length() - EXACT_BITS
        if shift <= 0:
            self.counts[max(value_ns, 0)] += times
        elif shift > MAX_BITS - EXACT_BITS:
            self.counts[-1] += times
        else:
            self.counts[shift * HALF + (value_ns >> shift)] += times
        self.total_ns += value_ns * times
        self.max_ns = max(self.max_ns, value_ns)

    def merge(self, other: Histogram) -> None:
        """Add what another one has counted."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.max_ns = max(self.max_ns, other.max_ns)
        self.total_ns += other.total_ns

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return sum(self.counts)

    def percentile_ns(self, fraction: float) -> int:
        """The nearest-rank percentile, 0 to 1: the middle of its bucket, at most the maximum.

        0 when nothing was recorded.
        """
        rank = max(1, -int(-fraction * self.count // 1))
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                return min(_middle(bucket), self.max_ns)
        return 0

    def summary_ms(self) -> dict[str, float]:
        """Percentiles, mean and maximum in milliseconds."""
        count = self.count
        points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}
        summary = {name: self.percentile_ns(point) / 1e6 for name, point in points.items()}
        summary["max"] = self.max_ns / 1e6
        summary["mean"] = self.total_ns / count / 1e6 if count else 0.0
        return {name: round(value, 4) for name, value in summary.items()}

    def curve_ms(self) -> list[tuple[float, float]]:
        """(percentile, milliseconds) from 0 to the last that is more than one sample."""
        count = self.count
        points = [point for point in CURVE if count * (100 - point) >= 100]
        curve = [(point, round(self.percentile_ns(point / 100) / 1e6, 4)) for point in points]
        return [*curve, (100.0, round(self.max_ns / 1e6, 4))] if count else []

    def __getstate__(self) -> Any:
        return (self.counts, self.max_ns, self.total_ns)

    def __setstate__(self, state: Any) -> None:
        self.counts, self.max_ns, self.total_ns = state


def _middle(bucket: int) -> int:
    if bucket < 2 * HALF:
        return bucket
    shift = bucket // HALF - 1
    return (bucket - shift * HALF << shift) + (1 << shift >> 1)
