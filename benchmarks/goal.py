"""A goal of the specification, and what repetitions of its measurement came to."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Goal", "Sample", "Samples", "goals_report", "markdown"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row. `value` below is what `bound` limits; `figure` is told beside it.

    `text` is a format of `value` and `figure`; `command` makes the figure again.
    """

    key: str
    row: str
    goal: str
    bound: float
    text: str
    at_most: bool = False

    def times(self, value: float) -> float:
        """How many times over the goal is reached: 1 is just so."""
        if self.at_most:
            return self.bound / value if value else float("inf")
        return value / self.bound


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement."""

    value: float
    figure: float = 0.0


Samples = dict[str, list[Sample]]


def goals_report(goals: list[Goal], samples: Samples, machine: dict[str, Any]) -> dict[str, Any]:
    """The table as data: medians, the spread of the repetitions, and whether it is reached."""
    rows = []
    for goal in goals:
        made = samples.get(goal.key)
        if not made:
            continue
        value = median(sample.value for sample in made)
        figure = median(sample.figure for sample in made)
        values = sorted(sample.value for sample in made)
        rows.append(
            {
                "key": goal.key,
                "row": goal.row,
                "goal": goal.goal,
                "measured": goal.text.format(value=value, figure=figure),
                "spread": f"{values[0]:,.3g} to {values[-1]:,.3g}",
                "values": [sample.value for sample in made],
                "figures": [sample.figure for sample in made],
                "times": round(goal.times(value), 3),
                "reached": goal.times(value) >= 1,
            }
        )
    return {"kind": "goals", "machine": machine, "rows": rows}


def markdown(report: dict[str, Any], flat: list[dict[str, Any]], command: str) -> str:
    """The tables of docs/explanation/performance.md."""
    machine = report["machine"]
    repetitions = max((len(row["values"]) for row in report["rows"]), default=0)
    lines = [
        f"Made by `{command}`: medians of {repetitions} repetitions; "
        f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}, "
        f"{machine['echo_loop']}.",
        "",
        "| | goal | measured | repetitions | reached |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['row']} | {row['goal']} | {row['measured']} | {row['spread']} | "
        f"{'yes' if row['reached'] else '**no**'} |"
        for row in report["rows"]
    ]
    if flat:
        lines += [
            "",
            "| 16 x 1 | instances | requests/s | p50 ms | p99 ms | CPU of the server, us |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['workload']} | {row['instances']:,} | {row['rate']:,.0f} | {row['p50']:.3f} | "
            f"{row['p99']:.3f} | {row['cpu_us']:.1f} |"
            for row in flat
        ]
    return "\n".join(lines) + "\n"
