import time
from collections.abc import Callable

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from rstmdb_protocol import OPERATIONS, ErrorCode
from rstmdb_server.metrics import Gauges, Histogram, Metrics
from rstmdb_server.metrics.prometheus import make_exporter

Read = Callable[[], tuple[dict[str, Metric], dict[tuple[str, str], float]]]

GAUGES = Gauges(
    instances=1,
    machines=2,
    wal_entries=3,
    wal_segments=4,
    wal_size_bytes=5,
    wal_bytes_written=6,
    wal_bytes_read=7,
    wal_writes=8,
    wal_reads=9,
    wal_fsyncs=10,
    skipped_records=11,
    ignored_entries=13,
    maintenance_failures={"snapshot": 14, "compaction": 0},
    watcher_lag_bytes=12,
)


def read(export: Callable[[], bytes]) -> tuple[dict[str, Metric], dict[tuple[str, str], float]]:
    """Families by name, and values by sample name and label values."""
    families = {one.name: one for one in text_string_to_metric_families(export().decode())}
    values = {
        (sample.name, ",".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    return families, values


def test_a_histogram_sorts_values_into_the_bucket_whose_bound_they_do_not_pass() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (0, 1, 1.5, 2, 4, 4.1, 100):
        histogram.observe(value)
    histogram.observe(3, count=10)
    assert histogram.counts == [2, 2, 11, 2]
    assert histogram.count == 17
    assert histogram.total == pytest.approx(112.6 + 30)


def test_slots_exist_before_anything_happens() -> None:
    metrics = Metrics()
    assert set(metrics.request_duration) == set(OPERATIONS)
    assert set(metrics.errors) == {code.value for code in ErrorCode}


def test_every_value_comes_out_under_the_name_that_dashboards_use() -> None:
    metrics = Metrics()
    metrics.connections_total = 100
    metrics.connections_active = 101
    metrics.request_duration["APPLY_EVENT"].observe(0.5, 102)
    metrics.errors["CONFLICT"] += 103
    metrics.subscriptions_active["instance"] = 104
    metrics.subscriptions_active["all"] = 105
    metrics.events_forwarded["instance"] = 106
    metrics.events_forwarded["all"] = 107
    metrics.recovery_seconds = 1.5
    _, values = read(make_exporter(metrics, lambda: GAUGES))
    expected = {
        ("rstmdb_connections_total", ""): 100,
        ("rstmdb_connections_active", ""): 101,
        ("rstmdb_requests_total", "APPLY_EVENT"): 102,
        ("rstmdb_requests_total", "PING"): 0,
        ("rstmdb_errors_total", "CONFLICT"): 103,
        ("rstmdb_errors_total", "RATE_LIMITED"): 0,
        ("rstmdb_subscriptions_active", "instance"): 104,
        ("rstmdb_subscriptions_active", "all"): 105,
        ("rstmdb_events_forwarded_total", "instance"): 106,
        ("rstmdb_events_forwarded_total", "all"): 107,
        ("rstmdb_recovery_seconds", ""): 1.5,
        ("rstmdb_instances_total", ""): 1,
        ("rstmdb_machines_total", ""): 2,
        ("rstmdb_wal_entries", ""): 3,
        ("rstmdb_wal_segments", ""): 4,
        ("rstmdb_wal_size_bytes", ""): 5,
        ("rstmdb_wal_bytes_written_total", ""): 6,
        ("rstmdb_wal_bytes_read_total", ""): 7,
        ("rstmdb_wal_writes_total", ""): 8,
        ("rstmdb_wal_reads_total", ""): 9,
        ("rstmdb_wal_fsyncs_total", ""): 10,
        ("rstmdb_skipped_records", ""): 11,
        ("rstmdb_ignored_entries", ""): 13,
        ("rstmdb_maintenance_failures_total", "snapshot"): 14,
        ("rstmdb_maintenance_failures_total", "compaction"): 0,
        ("rstmdb_watcher_lag_bytes", ""): 12,
    }
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("rstmdb_fsync_duration_seconds", "fsync_duration"),
        ("rstmdb_commit_records", "commit_records"),
        ("rstmdb_snapshot_duration_seconds", "snapshot_duration"),
        ("rstmdb_compaction_duration_seconds", "compaction_duration"),
        ("rstmdb_event_loop_lag_seconds", "event_loop_lag"),
    ],
)
def test_a_histogram_comes_out_cumulative(name: str, attribute: str) -> None:
    metrics = Metrics()
    histogram: Histogram = getattr(metrics, attribute)
    low, high = histogram.bounds[0], histogram.bounds[-1]
    histogram.observe(low, count=3)
    histogram.observe(high)
    histogram.observe(high * 2)
    families, values = read(make_exporter(metrics, Gauges))
    assert families[name].type == "histogram"
    assert values[f"{name}_bucket", str(float(low))] == 3
    assert values[f"{name}_bucket", str(float(high))] == 4
    assert values[f"{name}_bucket", "+Inf"] == values[f"{name}_count", ""] == 5
    assert values[f"{name}_sum", ""] == pytest.approx(3 * low + 3 * high)


def test_request_durations_come_out_by_operation() -> None:
    metrics = Metrics()
    metrics.request_duration["PING"].observe(0.0007, count=2)
    _, values = read(make_exporter(metrics, Gauges))
    name = "rstmdb_request_duration_seconds"
    assert values[f"{name}_bucket", "0.0005,PING"] == 0
    assert values[f"{name}_bucket", "0.001,PING"] == 2
    assert values[f"{name}_count", "PING"] == 2
    assert values[f"{name}_sum", "PING"] == pytest.approx(0.0014)
    assert values[f"{name}_count", "BYE"] == 0


def test_gauges_are_read_when_scraped_and_not_before() -> None:
    reads = 0

    def gauges() -> Gauges:
        nonlocal reads
        reads += 1
        return Gauges(instances=reads)

    export = make_exporter(Metrics(), gauges)
    assert reads == 0
    assert read(export)[1]["rstmdb_instances_total", ""] == 1
    assert read(export)[1]["rstmdb_instances_total", ""] == 2


def test_the_figures_of_the_process_are_there() -> None:
    _, values = read(make_exporter(Metrics(), Gauges))
    assert values["process_resident_memory_bytes", ""] > 1_000_000
    assert values["process_open_fds", ""] >= 3
    assert values["process_cpu_seconds_total", ""] > 0
    assert abs(values["process_start_time_seconds", ""] - time.time()) < 3600
