"""Pictures of results, as SVG to stand in a page. Needs matplotlib, the extra `plots`."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from ._report import shape_text

__all__ = ["draw_distributions", "draw_goals", "draw_series", "draw_throughput"]

WIDTH_INCHES: Final = 8.6
MAINTENANCE_COLOURS: Final = {"compaction": "tab:orange", "snapshot": "tab:purple"}

Curve = list[tuple[float, float]]


@contextmanager
def _figure(height_inches: float) -> Iterator[Figure]:
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "rstmdb-bench",
            "font.family": "sans-serif",
            "font.size": 9.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
        }
    ):
        yield Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    # Neither a date nor a version: the same result gives the same picture.
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', text[text.index("<svg") :])


def _plain(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _concurrency_axis(axes: Axes, points: set[int]) -> None:
    axes.set_xscale("log", base=2)
    ticks = sorted(points)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("requests in flight over all connections")


def draw_throughput(runs: list[dict[str, Any]]) -> str:
    """Rates and p99 against requests in flight, a line a workload; floors E and F beside them."""
    lines: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        settings = run["settings"]
        in_flight = settings["connections"] * settings["in_flight"]
        lines.setdefault(settings["workload"], {})[in_flight] = run
    points = {point for line in lines.values() for point in line}
    with _figure(4.2) as figure:
        rate, latency = figure.subplots(1, 2)
        for workload, line in lines.items():
            at = sorted(line)
            rates = [line[point]["results"]["rate_per_second"] for point in at]
            tails = [line[point]["results"]["latency_ms"]["p99"] for point in at]
            rate.plot(at, rates, marker="o", markersize=3, label=workload)
            latency.plot(at, tails, marker="o", markersize=3, label=workload)
        for floor, label, style in (
            ("echo", "E, echo", "--"),
            ("sync", "F, pwrite + fdatasync", ":"),
        ):
            mean = {point: _mean_floor(runs, point, floor) for point in points}
            at = sorted(point for point in points if mean[point])
            if at:
                rate.plot(at, [mean[point] for point in at], style, color="grey", label=label)
        for axes, name in ((rate, "requests/s"), (latency, "p99, ms")):
            _concurrency_axis(axes, points)
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain))
            axes.set_ylabel(name)
        figure.legend(*rate.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return _svg(figure)


def _mean_floor(runs: list[dict[str, Any]], in_flight: int, floor: str) -> float:
    rates = [
        run["floors"][floor]["rate_per_second"]
        for run in runs
        if "floors" in run
        and run["settings"]["connections"] * run["settings"]["in_flight"] == in_flight
    ]
    return sum(rates) / len(rates) if rates else 0.0


def draw_distributions(curves: dict[str, Curve]) -> str:
    """Latency against percentile, the tail stretched: each nine takes the same width.

    Empty when there are no latencies.
    """
    curves = {label: curve for label, curve in curves.items() if curve}
    if not curves:
        return ""
    with _figure(3.8) as figure:
        axes = figure.subplots()
        for label, curve in curves.items():
            inner = [(100 / (100 - point), ms) for point, ms in curve if point < 100]
            axes.plot(*zip(*inner, strict=True), label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        nines = (0, 50, 90, 99, 99.9, 99.99, 99.999)
        axes.set_xticks([100 / (100 - nine) for nine in nines], [f"{nine:g}%" for nine in nines])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.set_xlabel("percentile")
        axes.set_ylabel("latency, ms")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return _svg(figure)


def draw_series(run: dict[str, Any]) -> str:
    """Rate, latencies and memory over the time of one run, with the server's maintenance.

    Empty when the run had no whole interval.
    """
    series = run["series"]
    server = run.get("server")
    # The last interval holds only the last answers.
    whole = len(series["rate_per_second"]) - 1
    if whole <= 0:
        return ""
    at = [number * series["interval_seconds"] for number in range(whole)]
    panels: list[Callable[[Axes], None]] = [
        lambda axes: _draw_rate(axes, at, series["rate_per_second"][:whole]),
        lambda axes: _draw_tails(axes, at, series, whole),
    ]
    if server is not None:
        panels.append(lambda axes: _draw_memory(axes, server))
    with _figure(1.7 * len(panels) + 0.6) as figure:
        marks = server["marks"] if server is not None else []
        rows = figure.subplots(len(panels), sharex=True)
        for axes, draw in zip(rows, panels, strict=True):
            draw(axes)
            _mark(axes, marks)
        _mark_legend(rows[0], marks)
        axes.set_xlabel(f"seconds; {run['settings']['workload']} {shape_text(run['settings'])}")
        return _svg(figure)


def _draw_rate(axes: Axes, at: list[float], rates: list[float]) -> None:
    axes.plot(at, rates)
    axes.set_ylim(0, 1.1 * max(rates, default=1))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_ylabel("requests/s")


def _draw_tails(axes: Axes, at: list[float], series: dict[str, Any], whole: int) -> None:
    for name, label in (("p50_ms", "p50"), ("p99_ms", "p99"), ("max_ms", "max")):
        axes.plot(at, series[name][:whole], label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_ylabel("latency, ms")
    axes.legend(loc="upper right", ncols=3)


def _draw_memory(axes: Axes, server: dict[str, Any]) -> None:
    shown = [
        (at, size / 2**20)
        for at, size in zip(server["at_seconds"], server["resident_bytes"], strict=True)
        if at >= 0
    ]
    axes.plot(*zip(*shown, strict=True))
    axes.set_ylim(0, 1.1 * max((size for _, size in shown), default=1))
    axes.set_ylabel("server's memory, MiB")


def _mark(axes: Axes, marks: list[dict[str, Any]]) -> None:
    for mark in marks:
        colour = MAINTENANCE_COLOURS.get(mark["kind"], "tab:grey")
        axes.axvspan(mark["from"], mark["to"], color=colour, alpha=0.25, linewidth=0)


def _mark_legend(axes: Axes, marks: list[dict[str, Any]]) -> None:
    """A snapshot lies inside of its compaction: names beside the spans would overlap."""
    kinds = sorted({mark["kind"] for mark in marks})
    if kinds:
        patches = [
            Patch(color=MAINTENANCE_COLOURS.get(kind, "tab:grey"), alpha=0.25, label=kind)
            for kind in kinds
        ]
        axes.legend(handles=patches, loc="lower right", ncols=len(patches))


def draw_goals(rows: list[dict[str, Any]]) -> str:
    """How many times over each goal is reached: a bar a row, the goal at 1."""
    with _figure(0.24 * len(rows) + 0.8) as figure:
        axes = figure.subplots()
        labels = [row["row"] for row in rows]
        colours = ["tab:green" if row["reached"] else "tab:red" for row in rows]
        axes.barh(labels, [row["times"] for row in rows], color=colours)
        axes.axvline(1, color="black", linewidth=1)
        axes.invert_yaxis()
        axes.set_xscale("log")
        ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        times = [row["times"] for row in rows]
        axes.set_xlim(min(0.5, 0.9 * min(times)), max(2, 1.1 * max(times)))
        axes.set_xlabel("times the goal")
        return _svg(figure)
