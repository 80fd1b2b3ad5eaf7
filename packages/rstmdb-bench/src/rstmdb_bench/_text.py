"""Results in a few lines for people, and as JSON for programs."""

from __future__ import annotations

import json
from typing import Any

from ._report import shape_text

__all__ = ["render_json", "render_text", "sweep_head", "sweep_row"]


def render_json(report: dict[str, Any]) -> str:
    """One JSON object on one line."""
    return json.dumps(report, ensure_ascii=False)


def render_text(report: dict[str, Any]) -> str:
    """A few lines for people, whatever kind of result it is."""
    match report["kind"]:
        case "comparison":
            return _comparison(report)
        case "sweep":
            return "\n".join([sweep_head(), *map(sweep_row, report["runs"])])
        case "watch":
            return _watch(report)
        case "diff":
            return _diff(report)
        case _:
            return _run(report)


def _run(report: dict[str, Any]) -> str:
    settings, results = report["settings"], report["results"]
    lines = [
        f"{settings['workload']} {shape_text(settings)} at {settings['address']}, "
        f"{results['seconds']:.1f} s",
        f"rate     {results['rate_per_second']:,.0f}/s",
        f"latency  {_latency(results['latency_ms'])}",
        f"answers  {results['ok']:,} ok, {results['errors']:,} errors, "
        f"{results['unanswered']:,} missing",
    ]
    if "operations_per_second" in results:
        lines.append(f"in them  {results['operations_per_second']:,.0f} operations/s")
    if "generator_late_ms" in results:
        late = results["generator_late_ms"]
        lines.append(
            f"sent     p50 {late['p50']:.3f}  p99 {late['p99']:.3f}  max {late['max']:.3f} ms "
            "after their times; latencies include it"
        )
    if results["first_error"]:
        lines.append(f"first error: {results['first_error']}")
    if "floors" in report:
        floors, ratios = report["floors"], report["ratios"]
        lines += [
            f"floor E  {floors['echo']['rate_per_second']:,.0f}/s (echo on "
            f"{floors['echo']['loop']}), the run is {ratios['rate_to_echo']} E",
            f"floor F  {floors['sync']['rate_per_second']:,.0f}/s (pwrite + fdatasync in "
            f"{floors['sync']['directory']}), the run is {ratios['rate_to_sync']} F",
        ]
    for mark in report.get("server", {}).get("marks", []):
        lines.append(f"{mark['kind']} from {mark['from']:.2f} s to {mark['to']:.2f} s of the run")
    return "\n".join(lines)


def _comparison(report: dict[str, Any]) -> str:
    settings = report["settings"]
    lines = [f"{settings['workload']} {shape_text(settings)}, medians of the alternating runs"]
    for name, server in report["servers"].items():
        medians = server["medians"]
        lines.append(
            f"{name}  {server['address']:<22} {medians['rate_per_second']:>12,.0f}/s  "
            f"{_latency(medians['latency_ms'])}"
        )
    ratios = report["a_to_b"]
    lines.append(f"a to b: rate {ratios['rate']}, p50 {ratios['p50']}, p99 {ratios['p99']}")
    return "\n".join(lines)


def sweep_head() -> str:
    """The head of a sweep's table."""
    return f"{'workload':<14}{'load':>20}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}" + (
        f"{'/ E':>8}{'/ F':>8}"
    )


def sweep_row(run: dict[str, Any]) -> str:
    """A run as a line of a sweep's table."""
    settings, results, ratios = run["settings"], run["results"], run.get("ratios", {})
    latency = results["latency_ms"]
    row = (
        f"{settings['workload']:<14}{shape_text(settings):>20}{results['rate_per_second']:>12,.0f}"
        f"{latency['p50']:>9.3f}{latency['p99']:>9.3f}"
    )
    for name in ("rate_to_echo", "rate_to_sync"):
        ratio = ratios.get(name)
        row += f"{'-' if ratio is None else f'{ratio:.2f}':>8}"
    if results["errors"] or results["unanswered"]:
        row += f"  {results['errors']:,} errors, {results['unanswered']:,} missing"
    return row


def _watch(report: dict[str, Any]) -> str:
    settings, results = report["settings"], report["results"]
    return "\n".join(
        [
            f"{settings['watchers']:,} watchers at {settings['address']}, "
            f"{results['events']:,} events in {results['seconds']:.1f} s",
            f"rate     {results['deliveries_per_second']:,.0f} deliveries/s",
            f"latency  {_latency(results['latency_ms'])}",
        ]
    )


def _diff(report: dict[str, Any]) -> str:
    lines = [f"{'workload':<14}{'load':>20}{'rate':>8}{'p50':>8}{'p99':>8}  ({report['by']})"]
    for cell in report["cells"]:
        figures = "".join(
            f"{'-' if cell[name] is None else f'{cell[name]:.2f}':>8}"
            for name in ("rate", "p50", "p99")
        )
        worse = "  slower" if cell["slower"] else ""
        lines.append(f"{cell['workload']:<14}{cell['load']:>20}{figures}{worse}")
    lines += [
        f"only in {name[-1]}: {', '.join(report[name])}"
        for name in ("only_a", "only_b")
        if report[name]
    ]
    return "\n".join(lines)


def _latency(latency: dict[str, float]) -> str:
    return (
        f"p50 {latency['p50']:.3f}  p90 {latency['p90']:.3f}  p99 {latency['p99']:.3f}  "
        f"p99.9 {latency['p99_9']:.3f}  max {latency['max']:.3f} ms"
    )
