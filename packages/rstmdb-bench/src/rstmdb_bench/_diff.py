"""Two result files beside each other: what became faster, what slower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import __version__
from ._errors import BenchError
from ._report import shape_text

__all__ = ["diff_report", "load_results", "runs_of"]


def load_results(path: Path) -> dict[str, Any]:
    """A result that rstmdb-bench wrote with `-o json` or `--out`. Raises BenchError."""
    try:
        report = json.loads(path.read_text())
    except OSError as error:
        raise BenchError(f"can't read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise BenchError(f"{path} is no result of rstmdb-bench: {error}") from None
    if not isinstance(report, dict) or "kind" not in report:
        raise BenchError(f"{path} is no result of rstmdb-bench: it names no kind")
    return report


def runs_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs in a result: of a sweep all, of a run itself, of others none."""
    if report["kind"] == "sweep":
        runs: list[dict[str, Any]] = report["runs"]
        return runs
    return [report] if report["kind"] == "run" else []


def diff_report(
    first: dict[str, Any], second: dict[str, Any], *, floors: bool, tolerance: float
) -> dict[str, Any]:
    """Each run of `second` to the same run of `first`: b to a, more than 1 is more.

    With `floors` rates are compared by their ratios to the echo, so that another machine or a
    slower day does not count; latencies stay as they are. A cell is slower when its rate fell
    by more than `tolerance` (0.1 is a tenth). Raises BenchError when nothing is in both.
    """
    a, b = (_by_cell(report) for report in (first, second))
    both = [cell for cell in a if cell in b]
    if not both:
        raise BenchError("the two results have no workload and load in common")
    return {
        "kind": "diff",
        "version": __version__,
        "by": "rates to the echo of their runs, b to a" if floors else "b to a",
        "cells": [_cell(cell, a[cell], b[cell], floors, tolerance) for cell in both],
        "only_a": [" ".join(cell) for cell in a if cell not in b],
        "only_b": [" ".join(cell) for cell in b if cell not in a],
    }


def _by_cell(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (run["settings"]["workload"], shape_text(run["settings"])): run for run in runs_of(report)
    }


def _cell(
    cell: tuple[str, str], a: dict[str, Any], b: dict[str, Any], floors: bool, tolerance: float
) -> dict[str, Any]:
    rate = _ratio(_rate(b, floors), _rate(a, floors))
    latencies = {
        name: _ratio(b["results"]["latency_ms"][name], a["results"]["latency_ms"][name])
        for name in ("p50", "p99")
    }
    slower = rate is not None and rate < 1 - tolerance
    return {"workload": cell[0], "load": cell[1], "rate": rate, **latencies, "slower": slower}


def _rate(run: dict[str, Any], floors: bool) -> float:
    rate: float = run["results"]["rate_per_second"]
    if not floors:
        return rate
    if "floors" not in run:
        raise BenchError("a result has no floors to compare by; leave --by-floors away")
    echo: float = run["floors"]["echo"]["rate_per_second"]
    return rate / echo


def _ratio(value: float, base: float) -> float | None:
    return round(value / base, 3) if base else None
