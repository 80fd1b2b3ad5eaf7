"""Results as one HTML page that needs nothing beside it."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from ._diff import runs_of
from ._errors import BenchError
from ._plots import draw_distributions, draw_goals, draw_series, draw_throughput
from ._report import machine, shape_text

__all__ = ["render_page"]

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
.missed { color: #b00020; font-weight: 600; } figure { margin: 1rem 0; }
figcaption, .note { color: #666; font-size: .85rem; }
"""
DISTRIBUTIONS: Final = 8
"""More lines than that in one picture can't be told apart."""


def render_page(title: str, results: list[dict[str, Any]]) -> str:
    """The page; of each kind of result what can be shown. Raises BenchError if that is nothing."""
    parts = [_goals(result) for result in results if result["kind"] == "goals"]
    sweep = [run for result in results if result["kind"] == "sweep" for run in runs_of(result)]
    if sweep:
        parts.append(_sweep(sweep))
    parts += [_single(result) for result in results if result["kind"] == "run"]
    parts += [_watch(result) for result in results if result["kind"] == "watch"]
    if not parts:
        raise BenchError("there is no run, sweep, watch or goals result to draw")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{_where(results)}"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def _where(results: list[dict[str, Any]]) -> str:
    where = next((result["machine"] for result in results if "machine" in result), machine())
    text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in where.items())
    return (
        f'<p class="note">{escape(text)}. Absolute figures drift with the machine; compare ratios '
        "to the floors of the same run: E, an echo in the same language; F, pwrite of 300 bytes "
        "and fdatasync.</p>\n"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose cells are HTML already."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>\n"


def _figure(svg: str, caption: str) -> str:
    if not svg:
        return ""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>\n"


def _goals(result: dict[str, Any]) -> str:
    rows = [
        [
            escape(row["row"]),
            escape(row["goal"]),
            escape(row["measured"]),
            escape(row["spread"]),
            "yes" if row["reached"] else '<span class="missed">no</span>',
        ]
        for row in result["rows"]
    ]
    table = _table(["", "goal", "measured", "repetitions", "reached"], rows)
    picture = _figure(draw_goals(result["rows"]), "Each goal, and how many times over it is met.")
    return f"<h2>Goals</h2>\n{table}{picture}"


def _sweep(runs: list[dict[str, Any]]) -> str:
    rows = []
    for run in runs:
        results, ratios = run["results"], run.get("ratios", {})
        latency = results["latency_ms"]
        figures = [f"{results['rate_per_second']:,.0f}"]
        figures += [f"{latency[name]:.3f}" for name in ("p50", "p90", "p99", "p99_9", "max")]
        figures += [_ratio(ratios.get(name)) for name in ("rate_to_echo", "rate_to_sync")]
        rows.append([escape(run["settings"]["workload"]), shape_text(run["settings"]), *figures])
    head = ["workload", "load", "requests/s", "p50 ms", "p90", "p99", "p99.9", "max", "/ E", "/ F"]
    busiest = _busiest(runs)
    curves = {
        f"{run['settings']['workload']} {shape_text(run['settings'])}": run["distribution_ms"]
        for run in busiest[:DISTRIBUTIONS]
    }
    return (
        "<h2>Throughput against concurrency</h2>\n"
        + _figure(draw_throughput(runs), "Closed loop. Requests in flight are connections times "
                  "those that each keeps unanswered.")
        + _table(head, rows)
        + "<h2>Latency distribution</h2>\n"
        + _figure(draw_distributions(curves), "At the highest concurrency of each workload.")
    )  # fmt: skip


def _busiest(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each workload the run with the most requests in flight."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        best = found.get(run["settings"]["workload"])
        if best is None or _in_flight(run) >= _in_flight(best):
            found[run["settings"]["workload"]] = run
    return list(found.values())


def _in_flight(run: dict[str, Any]) -> int:
    in_flight: int = run["settings"]["connections"] * run["settings"]["in_flight"]
    return in_flight


def _single(run: dict[str, Any]) -> str:
    settings, results = run["settings"], run["results"]
    latency = results["latency_ms"]
    kind = "open" if settings["rate_per_second"] else "closed"
    name = f"{settings['workload']} {shape_text(settings)}, {kind} loop"
    text = (
        f"{results['rate_per_second']:,.0f} requests/s, p50 {latency['p50']:.3f} ms, "
        f"p99 {latency['p99']:.3f} ms, p99.9 {latency['p99_9']:.3f} ms, "
        f"longest {latency['max']:.1f} ms; {results['errors']} errors."
    )
    caption = "Each point covers an interval; shaded: what the server's metrics called maintenance."
    return (
        f"<h2>Over time: {escape(name)}</h2>\n<p>{escape(text)}</p>\n"
        + _figure(draw_series(run), caption)
        + _figure(draw_distributions({name: run["distribution_ms"]}), "Over the whole run.")
    )


def _watch(result: dict[str, Any]) -> str:
    settings, results = result["settings"], result["results"]
    name = f"{settings['watchers']:,} watchers, {settings['in_flight']} events in flight"
    text = (
        f"{results['deliveries_per_second']:,.0f} deliveries/s of {results['events']:,} events, "
        f"from the send of an event to its arrival p50 {results['latency_ms']['p50']:.2f} ms, "
        f"p99 {results['latency_ms']['p99']:.2f} ms."
    )
    return f"<h2>Fan-out: {escape(name)}</h2>\n<p>{escape(text)}</p>\n" + _figure(
        draw_distributions({name: result["distribution_ms"]}), "Time to each watcher."
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
