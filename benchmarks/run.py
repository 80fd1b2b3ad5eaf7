"""The load report: every workload at every concurrency, a run over time, fan-out: `nox -s bench`.

A server with every write synced and metrics on. The floors E (an echo that parses, checks and
answers each frame) and F (pwrite of 300 bytes and fdatasync) are measured beside each cell.
Writes sweep.json, over-time.json, watch.json and report.html into `--out DIRECTORY`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.subject import Subject, bench, fill
from rstmdb_client import SyncClient

INSTANCES_OVER_TIME = 200_000
START_SECONDS = 2
"""What the load generator needs to start and warm up."""
SHARE_OF_CAPACITY = 0.3
"""The open loop runs at this part of what a closed loop reaches: users do not fill a server."""


def sweep(folder: Path, seconds: float, workloads: str | None, out: Path) -> None:
    """All cells, their lines printed as they come."""
    with Subject(folder) as subject:
        command = [
            sys.executable, "-m", "rstmdb_bench", "sweep", "--address", subject.address,
            "--seconds", str(seconds), "--floor-seconds", str(max(seconds / 2, 0.2)),
            "--floor-directory", str(folder), "--warmup", "0.5", "--out", str(out),
        ]  # fmt: skip
        if workloads is not None:
            command += ["--workloads", workloads]
        subprocess.run(command, check=True)


def over_time(folder: Path, seconds: float, out: Path) -> None:
    """Reads and writes at a fixed rate on many instances, with two compactions in between."""
    fill(folder / "data", INSTANCES_OVER_TIME)
    with Subject(folder, RSTMDB_COMPACT_ENABLED="false") as subject:
        common = (
            "run", "--address", subject.address, "--workload", "mixed", "--connections", "16",
            "--instances", str(INSTANCES_OVER_TIME), "--prepared", "--no-floors",
        )  # fmt: skip
        capacity = bench(*common, "--seconds", "2")["results"]["rate_per_second"]
        compacting = threading.Thread(target=_compact_twice, args=(subject.address, seconds))
        compacting.start()
        bench(
            *common, "--seconds", str(seconds), "--rate", str(capacity * SHARE_OF_CAPACITY),
            "--metrics-url", subject.metrics_url, "--out", str(out),
        )  # fmt: skip
        compacting.join()


def _compact_twice(address: str, seconds: float) -> None:
    with SyncClient.from_url(f"rstmdb://{address}", request_timeout=120.0) as client:
        time.sleep(START_SECONDS)
        for _ in range(2):
            time.sleep(seconds / 4)
            client.compact(force_snapshot=True)


def watch(folder: Path, seconds: float, out: Path) -> None:
    """Events to a thousand watchers."""
    with Subject(folder, RSTMDB_MAX_CONNECTIONS="1100") as subject:
        bench(
            "watch", "--address", subject.address, "--watchers", "1000",
            "--seconds", str(seconds), "--out", str(out),
        )  # fmt: skip


def main() -> None:
    """Measure everything and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each cell")
    parser.add_argument("--workloads", help="of the sweep, with commas between; all by default")
    parser.add_argument("--goals", type=Path, help="what `nox -s goals -- --out FILE` wrote")
    parser.add_argument("--out", type=Path, default=Path("bench-report"), metavar="DIRECTORY")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = [options.out / f"{name}.json" for name in ("sweep", "over-time", "watch")]
    with tempfile.TemporaryDirectory(prefix="rstmdb-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        sweep(folder / "sweep", options.seconds, options.workloads, results[0])
        over_time(folder / "over-time", max(6.0, options.seconds * 4), results[1])
        watch(folder / "watch", options.seconds, results[2])
    page = options.out / "report.html"
    drawn = [options.goals, *results] if options.goals else results
    command = [sys.executable, "-m", "rstmdb_bench", "report", *map(str, drawn), "--out", str(page)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
