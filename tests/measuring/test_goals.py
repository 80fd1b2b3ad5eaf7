"""The programs in benchmarks/: how samples become a table, and that they run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.check import Guard, best
from benchmarks.goal import Goal, Sample, goals_report, markdown
from benchmarks.goals import GOALS, medians, write_into
from benchmarks.speed import lone_writer

ROOT = Path(__file__).parents[2]
RATE = Goal("rate", "GET 16 x 1", "at least 0.75 E", 0.75, "{figure:,.0f}/s, {value:.2f} E")
WAIT = Goal("wait", "longest wait", "at most 50 ms", 50, "{value:.1f} ms", at_most=True)
MACHINE = {"cores": 2, "processor": "x86_64", "python": "3.11.7", "echo_loop": "uvloop"}


def test_a_goal_is_reached_from_its_bound_on() -> None:
    assert RATE.times(0.75) == 1
    assert RATE.times(1.5) == 2
    assert WAIT.times(50) == 1
    assert WAIT.times(100) == 0.5


def test_a_row_is_the_median_of_its_repetitions_and_tells_their_spread() -> None:
    samples = {
        "rate": [Sample(0.9, 90_000), Sample(0.1, 10_000), Sample(0.8, 80_000)],
        "wait": [Sample(60), Sample(61), Sample(10)],
    }
    report = goals_report([RATE, WAIT, Goal("x", "not measured", "", 1, "")], samples, MACHINE)
    rate, wait = report["rows"]
    assert rate["measured"] == "80,000/s, 0.80 E"
    assert rate["spread"] == "0.1 to 0.9"
    assert rate["reached"]
    assert wait["measured"] == "60.0 ms"
    assert not wait["reached"]
    assert wait["times"] == 0.833


def test_the_page_gets_the_table_between_its_lines_and_keeps_the_rest(tmp_path: Path) -> None:
    report = goals_report([WAIT], {"wait": [Sample(60)]}, MACHINE)
    flat = [
        {
            "workload": "get",
            "instances": 1_000_000,
            "rate": 5e4,
            "p50": 0.2,
            "p99": 0.5,
            "cpu_us": 10.04,
        }
    ]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- goals -->\nold\n<!-- /goals -->\nafter\n")
    for _ in range(2):
        write_into(page, markdown(report, flat, "nox -s goals"))
    text = page.read_text()
    assert text.startswith("before\n<!-- goals -->\nMade by `nox -s goals`: medians of 1 ")
    assert text.endswith("\n<!-- /goals -->\nafter\n")
    assert "old" not in text
    assert text.count("| longest wait | at most 50 ms | 60.0 ms | 60 to 60 | **no** |") == 1
    assert "| get | 1,000,000 | 50,000 | 0.200 | 0.500 | 10.0 |" in text


def test_a_page_without_the_lines_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(SystemExit, match="no lines"):
        write_into(page, "x")
    assert page.read_text() == "nothing here\n"


def test_the_flat_line_is_the_median_of_each_cell() -> None:
    lines = [
        [
            {
                "workload": "get",
                "instances": 1000,
                "rate": rates,
                "p50": [1.0],
                "p99": rates,
                "cpu_us": [2.0],
            }
        ]
        for rates in ([5.0, 9.0], [1.0], [3.0, 2.0])
    ]
    [row] = medians(lines)
    assert (row["rate"], row["p99"], row["instances"]) == (3, 3, 1000)


def test_a_lone_writer_may_take_1_6_syncs_and_a_round_trip() -> None:
    result = {
        "results": {"latency_ms": {"p50": 0.34}},
        "floors": {
            "sync": {"rate_per_second": 10_000},
            "echo": {"latency_ms": {"p50": 0.01}},
        },
    }
    sample = lone_writer(result)
    assert sample.value == pytest.approx(2)
    assert sample.figure == 0.34


def test_the_best_try_counts_and_no_more_are_made_than_needed() -> None:
    tries = iter([0.2, 0.6, 0.9])
    assert best(Guard("x", 0.5, "E", lambda: next(tries)), 5) == (0.6, 2)
    assert best(Guard("x", 0.5, "E", lambda: 0.1), 3) == (0.1, 3)


def test_every_row_of_the_specification_has_a_goal() -> None:
    rows = " ".join(goal.row for goal in GOALS)
    for part in (
        "APPLY_EVENT 1 x 1", "APPLY_EVENT 16 x 1", "APPLY_EVENT 64 x 1", "APPLY_EVENT 16 x 16",
        "GET_INSTANCE 64 x 1", "PING 16 x 16", "1,000,000 instances against 1,000",
        "memory of an instance", "from the log", "from a snapshot", "COMPACT of a million",
        "longest wait", "1,000 watchers", "embedded apply",
    ):  # fmt: skip
        assert part in rows
    assert len({goal.key for goal in GOALS}) == len(GOALS)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_part_of_the_goals_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "goals.json"
    done = run(
        "benchmarks.goals", "--repetitions", "1", "--seconds", "0.2", "--only", "embedded",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    [row] = json.loads(out.read_text())["rows"]
    assert row["key"] == "embedded"
    assert row["values"][0] > 100
    assert row["measured"] in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_goals_are_measured_in_small(tmp_path: Path) -> None:
    out = tmp_path / "goals.json"
    done = run(
        "benchmarks.goals", "--repetitions", "1", "--seconds", "0.5", "--instances", "20000",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    report = json.loads(out.read_text())
    assert {row["key"] for row in report["rows"]} == {goal.key for goal in GOALS}
    assert len(report["flat_line"]) == 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_report_is_drawn(tmp_path: Path) -> None:
    done = run(
        "benchmarks.run", "--seconds", "0.3", "--workloads", "ping,apply", "--out", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "compaction" in page
    assert page.count("<svg") == 5
