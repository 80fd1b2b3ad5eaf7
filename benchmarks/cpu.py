"""CPU time of a request, of the server and of the echo: `python -m benchmarks.cpu`.

A busy machine takes time away from both, and CPU time hardly changes: so this tells on any
machine what a change of the code costs. Microseconds of the process, all threads, user and
system, for one request; the best of some short pieces by turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.subject import Subject, bench

__all__ = ["Process", "best_of", "cpu_of_a_request", "echo_process", "prepare"]

CELLS = [
    (workload, load)
    for workload in ("ping", "get", "apply")
    for load in ((1, 1), (16, 1), (64, 1), (16, 16))
]


@dataclass(frozen=True, slots=True)
class Process:
    """Something that answers requests."""

    pid: int
    address: str

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far (proc(5), fields 14 and 15 of stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def echo_process() -> Iterator[Process]:
    """The floor E, on a free port."""
    command = [sys.executable, "-m", "rstmdb_bench", "echo", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield Process(process.pid, line.split()[-1])
        finally:
            process.terminate()


def cpu_of_a_request(
    process: Process, workload: str, connections: int, in_flight: int, seconds: float
) -> float:
    """Microseconds. The connecting and the end of the run are in it, which is little."""
    common = (
        "run", "--address", process.address, "--workload", workload,
        "--connections", str(connections), "--in-flight", str(in_flight), "--no-floors",
        "--warmup", "0",
    )  # fmt: skip
    before = process.cpu_seconds()
    result = bench(*common, "--seconds", str(seconds), "--prepared")["results"]
    answered: int = result["ok"]
    return (process.cpu_seconds() - before) / answered * 1e6


def best_of(
    processes: list[Process], workload: str, load: tuple[int, int], seconds: float, pieces: int
) -> list[float]:
    """The least of each process, measured by turns."""
    rounds = [
        [cpu_of_a_request(process, workload, *load, seconds) for process in processes]
        for _ in range(pieces)
    ]
    return [min(column) for column in zip(*rounds, strict=True)]


def prepare(process: Process) -> None:
    """Create the instances, so that no piece counts that."""
    bench("run", "--address", process.address, "--seconds", "0.1", "--no-floors")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each piece")
    parser.add_argument("--pieces", type=int, default=3)
    parser.add_argument(
        "--beside",
        nargs=2,
        action="append",
        default=[],
        metavar=("PID", "HOST:PORT"),
        help="a server that runs already, for example by another Python; any number of them",
    )
    options = parser.parse_args()
    others = [Process(int(pid), address) for pid, address in options.beside]
    with (
        tempfile.TemporaryDirectory(prefix="rstmdb-cpu-", dir=Path.cwd()) as name,
        Subject(Path(name)) as subject,
        echo_process() as echo,
    ):
        server = Process(subject.process.pid, subject.address)
        for process in (server, *others):
            prepare(process)
        head = ["server us", "echo us", "ratio", *(process.address for process in others)]
        print(f"{'':<16}" + "".join(f"{name:>17}" for name in head))
        for workload, load in CELLS:
            processes = [server, echo, *others]
            used = best_of(processes, workload, load, options.seconds, options.pieces)
            figures = [used[0], used[1], used[0] / used[1], *used[2:]]
            row = "".join(f"{figure:>17.2f}" for figure in figures)
            print(f"{workload:<8}{f'{load[0]} x {load[1]}':>8}{row}", flush=True)


if __name__ == "__main__":
    main()
