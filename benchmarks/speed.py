"""Goals that are ratios to the floors of the same run: writes to F, reads to E."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.goal import Goal, Sample
from benchmarks.subject import Subject, bench

__all__ = ["SLICES", "SPEED_GOALS", "lone_writer", "measure_cell", "measure_speed", "middle"]

APPLY = "{figure:,.0f}/s, {value:.2f} F"
READ = "{figure:,.0f}/s, {value:.2f} E"
SLICES = 3
LOADS = ((16, 1), (64, 1), (16, 16))
APPLY_BOUNDS = {(16, 1): 2.5, (64, 1): 5.0, (16, 16): 12.0}

SPEED_GOALS = [
    Goal(
        "apply 1x1",
        "APPLY_EVENT 1 x 1, p50",
        "at most 1.6 / F + one echo round trip",
        1.0,
        "{figure:.3f} ms, {value:.2f} of it",
        at_most=True,
    ),
    *(
        Goal(f"apply {c}x{d}", f"APPLY_EVENT {c} x {d}", f"at least {bound:g} F", bound, APPLY)
        for (c, d), bound in APPLY_BOUNDS.items()
    ),
    *(
        Goal(f"{workload} {c}x{d}", f"{op} {c} x {d}", "at least 0.75 E", 0.75, READ)
        for workload, op in (("get", "GET_INSTANCE"), ("ping", "PING"))
        for c, d in LOADS
    ),
]


def measure_cell(
    subject: Subject, workload: str, connections: int, in_flight: int, seconds: float
) -> dict[str, Any]:
    """One cell with its floors, which are measured right behind it."""
    return bench(
        "run", "--address", subject.address, "--workload", workload,
        "--connections", str(connections), "--in-flight", str(in_flight),
        "--seconds", str(seconds), "--warmup", "0.3",
        "--floor-seconds", str(max(seconds / 2, 0.2)), "--floor-directory", str(subject.folder),
    )  # fmt: skip


def lone_writer(result: dict[str, Any]) -> Sample:
    """The p50 of APPLY_EVENT 1 x 1 as a part of what the goal allows."""
    p50: float = result["results"]["latency_ms"]["p50"]
    floors = result["floors"]
    sync_ms = 1000 / floors["sync"]["rate_per_second"]
    allowed = 1.6 * sync_ms + floors["echo"]["latency_ms"]["p50"]
    return Sample(p50 / allowed, p50)


def slices(
    subject: Subject, workload: str, connections: int, in_flight: int, seconds: float
) -> list[dict[str, Any]]:
    """A cell in short pieces, load and floors by turns: what the machine does meets both."""
    piece = seconds / SLICES
    return [measure_cell(subject, workload, connections, in_flight, piece) for _ in range(SLICES)]


def middle(samples: list[Sample]) -> Sample:
    """The median of each figure."""
    return Sample(
        median(sample.value for sample in samples), median(sample.figure for sample in samples)
    )


def measure_speed(folder: Path, seconds: float) -> dict[str, Sample]:
    """All rows once, on one server with 1,000 instances."""
    samples: dict[str, Sample] = {}
    with Subject(folder) as subject:
        samples["apply 1x1"] = middle(
            [lone_writer(result) for result in slices(subject, "apply", 1, 1, seconds)]
        )
        for workload, ratio in (
            ("apply", "rate_to_sync"), ("get", "rate_to_echo"), ("ping", "rate_to_echo"),
        ):  # fmt: skip
            for connections, in_flight in LOADS:
                results = slices(subject, workload, connections, in_flight, seconds)
                samples[f"{workload} {connections}x{in_flight}"] = middle(
                    [
                        Sample(result["ratios"][ratio], result["results"]["rate_per_second"])
                        for result in results
                    ]
                )
    return samples
