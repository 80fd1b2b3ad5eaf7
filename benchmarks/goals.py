"""Every goal of the specification, measured on the complete server: `nox -s goals`.

Every write synced, metrics on, floors in the same run; repeated, with medians. `--into PAGE`
writes the tables between the lines `<!-- goals -->` and `<!-- /goals -->` of a Markdown page,
`--out FILE` all samples as JSON, which `rstmdb-bench report` draws. The exit code is 3 if
a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.goal import Goal, Sample, Samples, goals_report, markdown
from benchmarks.scale import (
    FLAT_FIGURES,
    MANY,
    SCALE_GOALS,
    Filled,
    FlatLine,
    measure_scale,
    prepare_scale,
)
from benchmarks.speed import SPEED_GOALS, measure_speed
from benchmarks.subject import Subject, bench
from rstmdb_bench._report import machine

PARTS = ("speed", "watchers", "embedded", "scale")
OTHER_GOALS = [
    Goal(
        "watchers", "one event to 1,000 watchers", "at least 150,000 deliveries/s",
        150_000, "{value:,.0f}/s, p99 {figure:.1f} ms",
    ),
    Goal(
        "embedded", "embedded apply, policy never", "at least 150,000/s",
        150_000, "{value:,.0f}/s in single calls, {figure:,.0f}/s in batches of 100",
    ),
]  # fmt: skip
GOALS = [*SPEED_GOALS, *SCALE_GOALS, *OTHER_GOALS]
EXIT_MISSED = 3
BEGIN, END = "<!-- goals -->\n", "<!-- /goals -->"


def measure_watchers(folder: Path, seconds: float) -> dict[str, Sample]:
    """One event at a time to 1,000 watchers, each on a connection of its own."""
    with Subject(folder, RSTMDB_MAX_CONNECTIONS="1100") as subject:
        result = bench(
            "watch", "--address", subject.address, "--watchers", "1000", "--in-flight", "1",
            "--seconds", str(seconds),
        )["results"]  # fmt: skip
    return {"watchers": Sample(result["deliveries_per_second"], result["latency_ms"]["p99"])}


def measure_embedded(folder: Path, seconds: float) -> dict[str, Sample]:
    """In a process of its own: nothing that ran before has shaped its memory."""
    command = [sys.executable, "-m", "benchmarks.embedded", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    single, batches = map(float, done.stdout.split())
    return {"embedded": Sample(single, batches)}


def repeat(
    folder: Path, parts: list[str], seconds: float, filled: Filled | None
) -> tuple[dict[str, Sample], FlatLine]:
    """One repetition of the parts."""
    samples: dict[str, Sample] = {}
    flat: FlatLine = []
    for part, measure in (
        ("speed", measure_speed),
        ("watchers", measure_watchers),
        ("embedded", measure_embedded),
    ):
        if part in parts:
            samples |= measure(folder / part, seconds)
    if filled is not None:
        more, flat = measure_scale(folder, filled, seconds)
        samples |= more
    return samples, flat


def medians(lines: list[FlatLine]) -> FlatLine:
    """Of each row the medians over all pieces of all repetitions."""
    return [
        rows[0]
        | {name: median(value for row in rows for value in row[name]) for name in FLAT_FIGURES}
        for rows in zip(*lines, strict=True)
    ]


def show(report: dict[str, Any]) -> None:
    """The table for people."""
    for row in report["rows"]:
        reached = "" if row["reached"] else "  MISSED"
        print(f"{row['row']:<55} {row['measured']}  ({row['goal']}){reached}")
    for row in report["flat_line"]:
        print(
            f"{row['workload']:<8}{row['instances']:>10,} instances {row['rate']:>10,.0f}/s  "
            f"p50 {row['p50']:.3f}  p99 {row['p99']:.3f} ms  {row['cpu_us']:.1f} us of CPU"
        )


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the two lines."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines {BEGIN.strip()} and {END}")
    page.write_text(before + begin + text + end + after)


def main() -> int:
    """Measure; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each cell")
    parser.add_argument("--instances", type=int, default=MANY, help="that stand for the million")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="keep all samples as JSON")
    parser.add_argument("--into", type=Path, help="a page with the lines for the tables")
    options = parser.parse_args()
    samples: Samples = {}
    lines: list[FlatLine] = []
    with tempfile.TemporaryDirectory(prefix="rstmdb-goals-", dir=Path.cwd()) as name:
        folder = Path(name)
        filled = prepare_scale(folder, options.instances) if "scale" in options.only else None
        for number in range(options.repetitions):
            print(f"repetition {number + 1} of {options.repetitions}", flush=True)
            made, flat = repeat(folder / str(number), options.only, options.seconds, filled)
            for key, sample in made.items():
                samples.setdefault(key, []).append(sample)
            lines += [flat] if flat else []
    report = goals_report(GOALS, samples, machine())
    report["flat_line"] = medians(lines)
    show(report)
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    if options.into is not None:
        write_into(options.into, markdown(report, report["flat_line"], "nox -s goals"))
    return 0 if all(row["reached"] for row in report["rows"]) else EXIT_MISSED


if __name__ == "__main__":
    sys.exit(main())
