import json
from pathlib import Path
from typing import Any

import pytest

from rstmdb_bench._diff import diff_report, load_results, runs_of
from rstmdb_bench._errors import BenchError
from rstmdb_bench._text import render_text


def run(workload: str, rate: float, echo: float | None = None, p99: float = 1.0) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kind": "run",
        "settings": {"workload": workload, "connections": 16, "in_flight": 1},
        "results": {"rate_per_second": rate, "latency_ms": {"p50": 0.5, "p99": p99}},
    }
    if echo is not None:
        made["floors"] = {"echo": {"rate_per_second": echo}}
    return made


def sweep(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "sweep", "runs": list(runs)}


def test_each_run_is_compared_with_the_same_run_of_the_other() -> None:
    first = sweep(run("get", 1000), run("apply", 100, p99=2))
    second = sweep(run("apply", 80, p99=8), run("get", 1100))
    report = diff_report(first, second, floors=False, tolerance=0.1)
    get, apply = report["cells"]
    assert (get["workload"], get["load"], get["rate"], get["slower"]) == (
        "get", "16 x 1", 1.1, False,
    )  # fmt: skip
    assert (apply["rate"], apply["p99"], apply["slower"]) == (0.8, 4.0, True)
    assert "slower" in render_text(report).splitlines()[2]


def test_by_floors_a_slower_machine_is_no_slower_server() -> None:
    first, second = run("get", 1000, echo=2000), run("get", 500, echo=1000)
    assert diff_report(first, second, floors=True, tolerance=0.1)["cells"][0]["rate"] == 1
    assert diff_report(first, second, floors=False, tolerance=0.1)["cells"][0]["slower"]
    with pytest.raises(BenchError, match="leave --by-floors away"):
        diff_report(first, run("get", 1), floors=True, tolerance=0.1)


def test_what_only_one_has_is_named() -> None:
    both = run("get", 1)
    report = diff_report(sweep(both, run("ping", 1)), sweep(both), floors=False, tolerance=0)
    assert report["only_a"] == ["ping 16 x 1"]
    assert "only in a: ping 16 x 1" in render_text(report)
    with pytest.raises(BenchError, match="no workload and load in common"):
        diff_report(sweep(both), sweep(run("ping", 1)), floors=False, tolerance=0)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"kind"'])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=r"x\.json is no result of rstmdb-bench"):
        load_results(path)


def test_a_result_comes_back_with_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(sweep(run("get", 1))))
    assert [each["kind"] for each in runs_of(load_results(path))] == ["run"]
    assert runs_of({"kind": "watch"}) == []
