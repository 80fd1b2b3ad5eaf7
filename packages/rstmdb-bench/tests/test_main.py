"""The program as a real process, against the echo and against the real server."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rstmdb_bench._connect import Address
from rstmdb_bench._floors import echo_server
from rstmdb_bench._workload import Workload

SHORT = ["--seconds", "0.3", "--warmup", "0.1", "--instances", "20", "--floor-seconds", "0.2"]
TOKEN = "right"


def bench(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("rstmdb-bench")
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | (env or {}),
        check=False,
    )


def run_json(*arguments: str) -> dict[str, Any]:
    done = bench("run", *arguments, *SHORT, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@contextmanager
def rstmdb_server(data_dir: Path, **env: str) -> Iterator[str]:
    command = ["-m", "rstmdb_server", "--bind", "127.0.0.1:0", "--data-dir", str(data_dir)]
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | env,
    ) as process:
        try:
            assert process.stdout is not None
            log = ""
            for line in process.stdout:
                log += line
                if match := re.search(r"listening on ([0-9.]+:\d+)", line):
                    yield match[1]
                    break
            else:
                pytest.fail(f"the server did not start: {log}")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with echo_server() as address:
        yield str(address)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rstmdb_server(tmp_path_factory.mktemp("data")) as address:
        yield address


def test_a_run_prints_one_json_object_with_floors_and_ratios(echo: str, tmp_path: Path) -> None:
    report = run_json(
        "--address", echo, "--workload", "ping", "--connections", "2", "--in-flight", "4",
        "--floor-directory", str(tmp_path),
    )  # fmt: skip
    assert set(report) == {
        "kind", "version", "settings", "results", "distribution_ms", "series", "floors", "ratios",
    }  # fmt: skip
    assert report["settings"]["workload"] == "ping"
    assert report["results"]["ok"] > 100
    assert report["results"]["errors"] == 0
    assert report["floors"]["echo"]["rate_per_second"] > 100
    assert report["floors"]["sync"]["rate_per_second"] > 0
    # It is the same echo; both are short, and other processes are at work.
    assert 0.1 < report["ratios"]["rate_to_echo"] < 10


def test_a_run_without_floors_measures_none(echo: str) -> None:
    report = run_json("--address", echo, "--workload", "get", "--no-floors")
    assert "floors" not in report
    assert sum(report["series"]["rate_per_second"]) > 0


def test_text_is_for_people(echo: str) -> None:
    done = bench("run", "--address", echo, "--workload", "ping", "--no-floors", *SHORT)
    assert done.returncode == 0
    assert re.search(r"rate +[\d,]+/s\nlatency  p50 ", done.stdout)


def test_every_workload_runs_against_the_real_server(server: str, tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    done = bench(
        "sweep", "--address", server, "--loads", "1x1,4x8", "--seconds", "0.2", "--warmup", "0",
        "--instances", "20", "--context-bytes", "5000", "--no-floors", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    runs = report["runs"]
    assert [run["settings"]["workload"] for run in runs] == [
        workload.value for workload in Workload for _ in range(2)
    ]
    for run in runs:
        assert run["results"]["errors"] == run["results"]["unanswered"] == 0
        assert run["results"]["ok"] > 10
    assert len(done.stdout.splitlines()) == 1 + len(runs)


@pytest.mark.parametrize("workload", ["apply", "create"])
def test_processes_write_to_the_real_server_side_by_side(server: str, workload: str) -> None:
    report = run_json(
        "--address", server, "--workload", workload, "--connections", "4",
        "--in-flight", "4", "--processes", "2", "--no-floors",
    )  # fmt: skip
    assert report["results"]["errors"] == report["results"]["unanswered"] == 0
    assert report["results"]["ok"] > 100


def test_an_open_loop_keeps_its_rate(server: str) -> None:
    for processes in ("1", "2"):
        report = run_json(
            "--address", server, "--workload", "mixed", "--rate", "1000",
            "--processes", processes, "--no-floors",
        )  # fmt: skip
        assert report["results"]["errors"] == report["results"]["unanswered"] == 0
        assert report["results"]["ok"] == pytest.approx(300, abs=30)
        assert report["results"]["generator_late_ms"]["p50"] < 50


def test_events_reach_all_watchers_of_the_real_server(server: str) -> None:
    done = bench(
        "watch", "--address", server, "--watchers", "20", "--in-flight", "3",
        "--seconds", "0.3", "--instances", "20", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["deliveries"] == 20 * results["events"] > 100


def test_results_are_compared_and_what_became_slower_ends_in_exit_code_1(
    echo: str, tmp_path: Path
) -> None:
    out = tmp_path / "a.json"
    run_json("--address", echo, "--workload", "ping", "--no-floors", "--out", str(out))
    same = bench("diff", str(out), str(out))
    assert same.returncode == 0, same.stderr
    slower = json.loads(out.read_text())
    slower["results"]["rate_per_second"] *= 0.5
    other = tmp_path / "b.json"
    other.write_text(json.dumps(slower))
    done = bench("diff", str(out), str(other))
    assert done.returncode == 1
    assert re.search(r"ping +16 x 1 +0\.50 .*slower", done.stdout)
    assert bench("diff", str(other), str(out)).returncode == 0
    missing = bench("diff", str(out), str(tmp_path / "none.json"))
    assert missing.returncode == 3
    assert "none.json: No such file" in missing.stderr


def test_a_run_beside_a_compaction_shows_it_in_the_report(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        metrics = f"127.0.0.1:{listener.getsockname()[1]}"
    env = {
        "RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": metrics,
        "RSTMDB_COMPACT_EVENTS": "200", "RSTMDB_COMPACT_INTERVAL": "0",
    }  # fmt: skip
    out, page = tmp_path / "run.json", tmp_path / "report.html"
    with rstmdb_server(tmp_path / "data", **env) as address:
        done = bench(
            "run", "--address", address, "--workload", "apply", "--rate", "500", "--seconds", "2",
            "--metrics-url", f"http://{metrics}/metrics", "--no-floors", "--out", str(out),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    server = json.loads(out.read_text())["server"]
    assert {mark["kind"] for mark in server["marks"]} >= {"compaction"}
    assert all(mark["from"] <= mark["to"] for mark in server["marks"])
    assert min(server["resident_bytes"]) > 10_000_000
    drawn = bench("report", str(out), "--out", str(page))
    assert drawn.returncode == 0, drawn.stderr
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "compaction" in text


def test_metrics_that_cannot_be_read_end_in_exit_code_3(echo: str) -> None:
    done = bench("run", "--address", echo, "--metrics-url", "http://127.0.0.1:1/metrics", *SHORT)
    assert done.returncode == 3
    assert "can't read metrics at http://127.0.0.1:1/metrics: " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_comparison_alternates_between_two_servers(server: str, echo: str) -> None:
    done = bench(
        "compare", "--a", server, "--b", echo, "--rounds", "2", "--workload", "ping",
        "--seconds", "0.2", "--warmup", "0", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["servers"]["a"]["address"] == server
    assert all(len(each["rates_per_second"]) == 2 for each in report["servers"].values())
    assert report["a_to_b"]["rate"] > 0


def test_a_token_is_needed_where_the_server_asks_for_one(tmp_path: Path) -> None:
    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    env = {"RSTMDB_AUTH_REQUIRED": "true", "RSTMDB_AUTH_TOKEN_HASH": hashed}
    with rstmdb_server(tmp_path, **env) as address:
        common = ("run", "--address", address, "--workload", "get", "--no-floors", *SHORT)
        right = bench(*common, "--token", TOKEN)
        assert right.returncode == 0, right.stderr
        assert bench(*common, env={"RSTMDB_TOKEN": TOKEN}).returncode == 0
        wrong = bench(*common, "--token", "wrong")
        none = bench(*common)
    assert wrong.returncode == none.returncode == 3
    assert f"{address} refused AUTH: AUTH_FAILED" in wrong.stderr
    assert f"{address} refused PUT_MACHINE: UNAUTHORIZED" in none.stderr
    for failed in (wrong, none):
        assert "--token or RSTMDB_TOKEN" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert failed.stdout == ""


def test_errors_in_the_answers_are_reported_and_end_in_exit_code_1(server: str) -> None:
    # Ids beyond the server's limit: the answers are errors, the run itself goes well.
    done = bench(
        "run", "--address", server, "--workload", "create", "--prefix", "x" * 300,
        "--no-floors", *SHORT, "-o", "json",
    )  # fmt: skip
    assert done.returncode == 1
    results = json.loads(done.stdout)["results"]
    assert results["ok"] == 0
    assert results["errors"] > 10
    assert '"status":"error"' in results["first_error"]


def test_an_unreachable_server_ends_in_exit_code_3_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = Address("127.0.0.1", listener.getsockname()[1])
    done = bench("run", "--address", str(free))
    assert done.returncode == 3
    expected = f"rstmdb-bench: can't reach {free}: Connection refused; does a server run there?\n"
    assert done.stderr == expected


def test_a_host_without_a_name_ends_in_exit_code_3() -> None:
    done = bench("run", "--address", "no-such-host.invalid:7401")
    assert done.returncode == 3
    assert done.stderr.startswith("rstmdb-bench: can't reach no-such-host.invalid:7401: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--address", "nowhere"],
        ["run", "--workload", "nap"],
        ["sweep", "--loads", "16"],
        ["sweep", "--loads", "0x1"],
        ["sweep", "--workloads", "ping,nap"],
        ["compare"],
        ["report"],
        ["nap"],
    ],
)
def test_wrong_usage_ends_in_exit_code_2(arguments: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert "Usage: rstmdb-bench" in done.stderr


def test_an_echo_on_a_taken_port_ends_in_exit_code_3(echo: str) -> None:
    done = bench("echo", "--bind", echo)
    assert done.returncode == 3
    assert done.stderr.startswith(f"rstmdb-bench: can't listen on {echo}: ")
