"""Prometheus' text format, made when someone scrapes. Imported only where metrics are served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ._counters import Gauges, Histogram, Metrics

__all__ = ["CONTENT_TYPE", "make_exporter"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_exporter(metrics: Metrics, gauges: Callable[[], Gauges]) -> Callable[[], bytes]:
    """A function that renders everything there is, the process's own figures included."""
    registry = CollectorRegistry()
    registry.register(_ServerCollector(metrics, gauges))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


class _ServerCollector(Collector):
    def __init__(self, metrics: Metrics, gauges: Callable[[], Gauges]) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the gauges."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics of the server; names with _total that are gauges are so by tradition."""
        yield from _from_counters(self._metrics)
        yield from _from_gauges(self._gauges())


def _from_counters(metrics: Metrics) -> Iterator[Metric]:
    yield _counter("connections", "Connections accepted.", metrics.connections_total)
    yield _gauge("connections_active", "Connections open now.", metrics.connections_active)
    requests = {name: duration.count for name, duration in metrics.request_duration.items()}
    yield _counters("requests", "Requests handled.", "operation", requests)
    yield _counters("errors", "Errors answered.", "code", metrics.errors)
    durations = HistogramMetricFamily(
        "rstmdb_request_duration_seconds",
        "Time from a request to its answer.",
        labels=["operation"],
    )
    for operation, histogram in metrics.request_duration.items():
        durations.add_metric([operation], _buckets(histogram), histogram.total)
    yield durations
    active = GaugeMetricFamily(
        "rstmdb_subscriptions_active", "Subscriptions open now.", labels=["type"]
    )
    for kind, number in metrics.subscriptions_active.items():
        active.add_metric([kind], number)
    yield active
    yield _counters("events_forwarded", "Events sent.", "type", metrics.events_forwarded)
    yield _histogram("fsync_duration_seconds", "Time of a sync.", metrics.fsync_duration)
    yield _histogram("commit_records", "Records in one commit.", metrics.commit_records)
    yield _histogram("snapshot_duration_seconds", "Time of a snapshot.", metrics.snapshot_duration)
    yield _histogram(
        "compaction_duration_seconds", "Time of a compaction.", metrics.compaction_duration
    )
    yield _histogram(
        "event_loop_lag_seconds", "How late the event loop's timer came.", metrics.event_loop_lag
    )
    yield _gauge("recovery_seconds", "Time the last recovery took.", metrics.recovery_seconds)


def _from_gauges(gauges: Gauges) -> Iterator[Metric]:
    yield _gauge("instances_total", "Instances that exist.", gauges.instances)
    yield _gauge("machines_total", "Machine definitions, all versions.", gauges.machines)
    yield _gauge("wal_entries", "Entries in the log.", gauges.wal_entries)
    yield _gauge("wal_segments", "Segments of the log.", gauges.wal_segments)
    yield _gauge("wal_size_bytes", "Size of the log.", gauges.wal_size_bytes)
    yield _counter("wal_bytes_written", "Bytes written to the log.", gauges.wal_bytes_written)
    yield _counter("wal_bytes_read", "Bytes read from the log.", gauges.wal_bytes_read)
    yield _counter("wal_writes", "Writes to the log.", gauges.wal_writes)
    yield _counter("wal_reads", "Reads from the log.", gauges.wal_reads)
    yield _counter("wal_fsyncs", "Syncs of the log.", gauges.wal_fsyncs)
    yield _gauge(
        "skipped_records", "Damaged records that recovery left out.", gauges.skipped_records
    )
    yield _gauge(
        "ignored_entries",
        "Entries of the log that made no sense and changed nothing.",
        gauges.ignored_entries,
    )
    yield _counters(
        "maintenance_failures",
        "Snapshots, compactions and backups that failed.",
        "task",
        gauges.maintenance_failures,
    )
    yield _gauge(
        "watcher_lag_bytes",
        "Bytes of log between the log's end and the subscription furthest behind.",
        gauges.watcher_lag_bytes,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rstmdb_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    """A counter; the format adds _total to its name."""
    return CounterMetricFamily(f"rstmdb_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"rstmdb_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(
        f"rstmdb_{name}", text, buckets=_buckets(histogram), sum_value=histogram.total
    )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as the format wants them."""
    buckets: list[tuple[str, float]] = []
    running = 0
    for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
        running += count
        buckets.append(("+Inf" if bound is None else str(float(bound)), running))
    return buckets
