"""rstmdb-bench beside another load generator, on the same server: `nox -s agree -- SOURCE`.

SOURCE is rcpload.c, a closed loop in C for any RCP server, which is no part of this repository:
`cc -O2` compiles it. Both run by turns; the median of the ratios of neighbouring runs must be
within 15 percent of 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.subject import Subject, bench

LOADS = ["1x1", "16x1", "64x1", "16x16"]
TOLERANCE = 0.15


def reference(program: Path, subject: Subject, workload: str, c: int, d: int, s: float) -> float:
    """Requests a second as the C program counts them."""
    host, port = subject.address.split(":")
    command = [str(program), host, port, str(c), str(d), str(s), workload, "1000", "agree"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate: float = json.loads(done.stdout)["rps"]
    return rate


def ours(subject: Subject, workload: str, c: int, d: int, s: float) -> float:
    """The same as rstmdb-bench counts it."""
    result = bench(
        "run", "--address", subject.address, "--workload", workload, "--connections", str(c),
        "--in-flight", str(d), "--seconds", str(s), "--warmup", "0", "--prefix", "agree",
        "--no-floors",
    )  # fmt: skip
    rate: float = result["results"]["rate_per_second"]
    return rate


def main() -> int:
    """Compare every cell; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="rcpload.c")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    parser.add_argument("--workloads", nargs="+", default=["ping", "get", "apply"])
    parser.add_argument("--loads", nargs="+", default=LOADS, metavar="CONNECTIONSxIN_FLIGHT")
    options = parser.parse_args()
    outside = 0
    with tempfile.TemporaryDirectory(prefix="rstmdb-agree-", dir=Path.cwd()) as name:
        folder = Path(name)
        program = folder / "rcpload"
        subprocess.run(["cc", "-O2", "-o", str(program), str(options.source)], check=True)
        with Subject(folder / "server") as subject:
            by_reference = partial(reference, program, subject)
            print(f"{'':<16}{'rstmdb-bench':>14}{'rcpload':>12}{'ratio':>8}")
            for workload in options.workloads:
                for load in options.loads:
                    c, d = map(int, load.split("x"))
                    pairs = []
                    for number in range(options.rounds):
                        pair = [0.0, 0.0]
                        # Who goes first changes, and only neighbours are compared.
                        for which in (0, 1) if number % 2 else (1, 0):
                            measure = partial(ours, subject) if which == 0 else by_reference
                            pair[which] = measure(workload, c, d, options.seconds)
                        pairs.append(pair)
                    first, second = (median(pair[which] for pair in pairs) for which in (0, 1))
                    ratio = median(pair[0] / pair[1] for pair in pairs)
                    outside += abs(ratio - 1) > TOLERANCE
                    mark = "" if abs(ratio - 1) <= TOLERANCE else "  OUTSIDE"
                    print(
                        f"{workload:<8}{f'{c} x {d}':>8}{first:>14,.0f}{second:>12,.0f}"
                        f"{ratio:>8.2f}{mark}",
                        flush=True,
                    )
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
