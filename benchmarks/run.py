"""Load figures of the complete server beside their floors: `nox -s bench`.

A server with every write synced and metrics on; each workload at each concurrency, with the
floors E (an echo that parses, checks and answers each frame) and F (pwrite of 300 bytes and
fdatasync) measured in the same run. `--out FILE` keeps all results as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rstmdb_server.testing import ServerProcess

CONCURRENCY = ((1, 1), (16, 1), (64, 1), (16, 16))
WORKLOADS = ("ping", "get", "apply", "create")


def measure(
    server: ServerProcess, workload: str, connections: int, in_flight: int, seconds: float
) -> dict[str, Any]:
    """One cell: rstmdb-bench as a process of its own, floors included."""
    command = [
        sys.executable, "-m", "rstmdb_bench", "run", "--address", server.address,
        "--workload", workload, "--connections", str(connections),
        "--in-flight", str(in_flight), "--seconds", str(seconds),
        "--floor-seconds", str(seconds / 2), "--floor-directory", str(server.folder),
        "--prefix", f"{workload}-{connections}-{in_flight}", "-o", "json",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row(workload: str, concurrency: str, result: dict[str, Any]) -> str:
    """A line of the table."""
    figures, ratios = result["results"], result["ratios"]
    latency = figures["latency_ms"]
    return (
        f"{workload:<8}{concurrency:>9}{figures['rate_per_second']:>12,.0f}"
        f"{latency['p50']:>9.3f}{latency['p99']:>9.3f}"
        f"{ratios['rate_to_echo']:>8.2f}{ratios['rate_to_sync']:>8.2f}"
    )


def main() -> int:
    """Measure everything and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each cell")
    parser.add_argument("--out", type=Path, help="keep all results as JSON")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="rstmdb-bench-", dir=Path.cwd()) as folder:
        env = {"RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": "127.0.0.1:0"}
        with ServerProcess(Path(folder), env) as server:
            print("workload    c x d  requests/s   p50 ms   p99 ms     / E     / F", flush=True)
            for workload in WORKLOADS:
                for connections, in_flight in CONCURRENCY:
                    result = measure(server, workload, connections, in_flight, options.seconds)
                    results.append(result)
                    print(row(workload, f"{connections} x {in_flight}", result), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=2))
    return 1 if any(result["results"]["errors"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
