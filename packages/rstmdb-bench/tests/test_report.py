import json
from typing import Any

import pytest

from rstmdb_bench import __version__
from rstmdb_bench._connect import Address
from rstmdb_bench._frames import Workload
from rstmdb_bench._load import LoadResult, LoadSettings
from rstmdb_bench._report import (
    Floors,
    comparison_report,
    render_json,
    render_text,
    run_report,
)

SETTINGS = LoadSettings(
    address=Address("127.0.0.1", 7401),
    workload=Workload.APPLY,
    connections=16,
    in_flight=4,
    seconds=2.0,
    warmup_seconds=1.0,
    instances=10,
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


def test_a_report_holds_settings_results_floors_and_their_ratios() -> None:
    floors = Floors(result(4000), 250.0, "/data")
    report = json.loads(render_json(run_report(SETTINGS, result(1000), floors)))
    assert report["version"] == __version__
    assert report["settings"]["address"] == "127.0.0.1:7401"
    assert report["settings"]["connections"] == 16
    assert report["results"]["rate_per_second"] == 1000
    assert set(report["results"]["latency_ms"]) == {"p50", "p90", "p99", "p99_9", "max", "mean"}
    assert report["floors"]["echo"]["rate_per_second"] == 4000
    assert report["floors"]["sync"] == {
        "rate_per_second": 250.0,
        "write_bytes": 300,
        "directory": "/data",
    }
    assert report["ratios"] == {"rate_to_echo": 0.25, "rate_to_sync": 4.0}


def test_without_floors_a_report_speaks_of_none() -> None:
    report = run_report(SETTINGS, result(1000), None)
    assert set(report) == {"version", "settings", "results"}
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
    other = LoadSettings(
        **{
            name: getattr(SETTINGS, name)
            for name in ("workload", "connections", "in_flight", "seconds")
        },
        address=Address("127.0.0.1", 7402),
        warmup_seconds=1.0,
        instances=10,
    )
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
