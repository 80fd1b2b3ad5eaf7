import json
from dataclasses import replace
from typing import Any

import pytest

from rstmdb_bench import __version__
from rstmdb_bench._connect import Address
from rstmdb_bench._histogram import Histogram
from rstmdb_bench._load import LoadSettings
from rstmdb_bench._report import (
    Floors,
    comparison_report,
    run_report,
    sweep_report,
    watch_report,
)
from rstmdb_bench._result import LoadResult
from rstmdb_bench._text import render_json, render_text
from rstmdb_bench._watchers import WatchResult, WatchSettings
from rstmdb_bench._workload import Shape, Workload

SETTINGS = LoadSettings(
    address=Address("127.0.0.1", 7401),
    workload=Workload.APPLY,
    connections=16,
    in_flight=4,
    seconds=2.0,
    warmup_seconds=1.0,
    shape=Shape(instances=10),
    token="secret",
)


def result(rate: int, latency_ms: float = 1.0, **more: Any) -> LoadResult:
    made = LoadResult(ok=rate * 2, started_ns=10**9, ended_ns=3 * 10**9, **more)
    made.latencies.record(int(latency_ms * 1e6), rate * 2)
    return made


def test_a_rate_is_the_ok_answers_over_the_time_to_the_last_one() -> None:
    assert result(1000).seconds == 2
    assert result(1000, errors=500).rate_per_second == 1000
    assert LoadResult().rate_per_second == 0


def test_results_of_processes_add_up() -> None:
    first = result(1000, errors=1)
    second = LoadResult(500, 2, 3, "why", started_ns=5 * 10**8, ended_ns=25 * 10**8)
    second.latencies.record(7_000_000)
    first.merge(second)
    assert (first.ok, first.errors, first.unanswered) == (2500, 3, 3)
    assert first.first_error == "why"
    assert (first.started_ns, first.ended_ns) == (5 * 10**8, 3 * 10**9)
    assert first.latencies.count == 2001


def test_intervals_of_processes_add_up() -> None:
    first, second = LoadResult(interval_seconds=0.5), LoadResult(interval_seconds=0.5)
    for made, number, latency_ns in (
        (first, 0, 10**6), (second, 0, 10**6), (second, 2, 10**9),
    ):  # fmt: skip
        made.intervals.setdefault(number, Histogram()).record(latency_ns)
    first.merge(second)
    series = first.series()
    assert series["rate_per_second"] == [4, 0, 2]
    assert series["max_ms"] == [1, 0, 1000]
    assert LoadResult().series()["rate_per_second"] == []


def test_a_report_holds_settings_results_floors_and_their_ratios() -> None:
    floors = Floors(result(4000), 250.0, "/data")
    report = json.loads(render_json(run_report(SETTINGS, result(1000), floors)))
    assert report["version"] == __version__
    assert report["settings"]["address"] == "127.0.0.1:7401"
    assert report["settings"]["connections"] == 16
    assert report["results"]["rate_per_second"] == 1000
    assert set(report["results"]["latency_ms"]) == {"p50", "p90", "p99", "p99_9", "max", "mean"}
    assert report["results"].keys().isdisjoint({"operations_per_second", "generator_late_ms"})
    assert report["distribution_ms"][-1] == [100.0, 1.0]
    assert report["floors"]["echo"]["rate_per_second"] == 4000
    assert report["floors"]["sync"] == {
        "rate_per_second": 250.0,
        "write_bytes": 300,
        "directory": "/data",
    }
    assert report["ratios"] == {"rate_to_echo": 0.25, "rate_to_sync": 4.0}


def test_without_floors_a_report_speaks_of_none() -> None:
    report = run_report(SETTINGS, result(1000), None)
    assert set(report) == {
        "kind", "version", "settings", "results", "distribution_ms", "series",
    }  # fmt: skip
    assert "floor" not in render_text(report)


def test_a_token_is_in_no_report_and_no_repr() -> None:
    report = run_report(SETTINGS, result(1000), None)
    assert "secret" not in render_json(report) + render_text(report) + repr(SETTINGS)


def test_text_tells_what_json_tells() -> None:
    report = run_report(SETTINGS, result(1000, first_error="boom"), Floors(result(4000), 250, "/d"))
    text = render_text(report)
    for part in ("apply 16 x 4", "1,000/s", "p99.9 1.0", "first error: boom", "0.25 E", "4.0 F"):
        assert part in text


def test_a_comparison_takes_medians_so_one_bad_run_does_not_count() -> None:
    other = replace(SETTINGS, address=Address("127.0.0.1", 7402))
    report = comparison_report(
        {"a": SETTINGS, "b": other},
        {
            "a": [result(2000, 1), result(1), result(2000, 1)],
            "b": [result(1000, 4), result(1000, 4), result(9000, errors=3)],
        },
    )
    assert report["servers"]["a"]["medians"]["rate_per_second"] == 2000
    assert report["servers"]["b"]["rates_per_second"] == [1000, 1000, 9000]
    assert report["servers"]["b"]["errors"] == 3
    assert report["a_to_b"]["rate"] == 2
    assert report["a_to_b"]["p50"] == pytest.approx(0.25, rel=0.01)
    assert "127.0.0.1:7402" in render_text(report)
    assert "rate 2.0" in render_text(report)


def test_a_batch_counts_its_operations_too() -> None:
    settings = replace(SETTINGS, workload=Workload.BATCH, shape=Shape(batch_ops=25))
    report = run_report(settings, result(1000), None)
    assert report["results"]["operations_per_second"] == 25_000
    assert "25,000 operations/s" in render_text(report)


def test_an_open_loop_tells_how_late_it_was_itself() -> None:
    made = result(1000)
    made.late.record(3_000_000)
    report = run_report(replace(SETTINGS, rate_per_second=1000), made, None)
    assert report["results"]["generator_late_ms"]["max"] == 3
    assert "1,000/s over 16" in render_text(report)
    assert "max 3.000 ms after their times" in render_text(report)


def test_maintenance_of_the_server_is_told() -> None:
    marks = [{"kind": "compaction", "from": 0.5, "to": 1.25}]
    report = run_report(SETTINGS, result(1), None, {"marks": marks})
    assert "compaction from 0.50 s to 1.25 s" in render_text(report)


def test_a_sweep_is_a_table_with_a_line_a_run() -> None:
    runs = [run_report(SETTINGS, result(1000, errors=7), Floors(result(4000), 250, "/d"))]
    runs.append(run_report(SETTINGS, result(2000), None))
    report = sweep_report(runs)
    assert report["machine"]["cores"] > 0
    head, with_floors, without = render_text(report).splitlines()
    assert head.split() == [
        "workload",
        "load",
        "requests/s",
        "p50",
        "ms",
        "p99",
        "ms",
        "/",
        "E",
        "/",
        "F",
    ]
    assert with_floors.split()[:5] == ["apply", "16", "x", "4", "1,000"]
    assert with_floors.endswith("0.25    4.00  7 errors, 0 missing")
    assert without.split()[-2:] == ["-", "-"]


def test_a_fan_out_is_told_in_deliveries() -> None:
    settings = WatchSettings(Address("127.0.0.1", 7401), 1000, 2, 3.0, token="secret")
    made = WatchResult(events=10, deliveries=10_000, seconds=2.0)
    made.latencies.record(4_000_000, 10_000)
    report = watch_report(settings, made)
    assert report["results"]["deliveries_per_second"] == 5000
    assert "5,000 deliveries/s" in render_text(report)
    assert "secret" not in render_json(report) + repr(settings)
