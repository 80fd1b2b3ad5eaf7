"""What the server counts; `rstmdb_server.metrics.prometheus` exports it."""

from ._counters import Gauges, Histogram, Metrics

__all__ = ["Gauges", "Histogram", "Metrics"]
