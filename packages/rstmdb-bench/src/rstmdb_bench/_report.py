"""Reports: one JSON object a run, or a few lines for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median
from typing import Any

from . import __version__
from ._floors import SYNC_BYTES, loop_name
from ._load import LoadResult, LoadSettings

__all__ = ["Floors", "comparison_report", "render_json", "render_text", "run_report"]


@dataclass(frozen=True, slots=True)
class Floors:
    """What was measured beside the run."""

    echo: LoadResult
    sync_per_second: float
    directory: str


def run_report(settings: LoadSettings, result: LoadResult, floors: Floors | None) -> dict[str, Any]:
    """Everything about one run; rates per second, latencies in milliseconds."""
    report: dict[str, Any] = {
        "version": __version__,
        "settings": _settings(settings),
        "results": _results(result),
    }
    if floors is not None:
        rate, echo = result.rate_per_second, floors.echo.rate_per_second
        report["floors"] = {
            "echo": {"loop": loop_name(), **_results(floors.echo)},
            "sync": {
                "rate_per_second": round(floors.sync_per_second, 1),
                "write_bytes": SYNC_BYTES,
                "directory": floors.directory,
            },
        }
        report["ratios"] = {
            "rate_to_echo": _ratio(rate, echo),
            "rate_to_sync": _ratio(rate, floors.sync_per_second),
        }
    return report


def comparison_report(
    settings: dict[str, LoadSettings], results: dict[str, list[LoadResult]]
) -> dict[str, Any]:
    """Medians of the alternating runs against servers `a` and `b`, and a to b."""
    servers: dict[str, dict[str, Any]] = {
        name: {
            "address": str(settings[name].address),
            "rates_per_second": [round(each.rate_per_second, 1) for each in runs],
            "errors": sum(each.errors + each.unanswered for each in runs),
            "medians": {
                "rate_per_second": round(median(each.rate_per_second for each in runs), 1),
                "latency_ms": _median_latencies(runs),
            },
        }
        for name, runs in results.items()
    }
    a, b = (servers[name]["medians"] for name in ("a", "b"))
    shared = _settings(settings["a"])
    del shared["address"]
    return {
        "version": __version__,
        "settings": shared,
        "servers": servers,
        "a_to_b": {
            "rate": _ratio(a["rate_per_second"], b["rate_per_second"]),
            **{
                name: _ratio(a["latency_ms"][name], b["latency_ms"][name])
                for name in ("p50", "p99")
            },
        },
    }


def render_json(report: dict[str, Any]) -> str:
    """One JSON object on one line."""
    return json.dumps(report, ensure_ascii=False)


def render_text(report: dict[str, Any]) -> str:
    """A few lines for people."""
    settings = report["settings"]
    shape = f"{settings['connections']} x {settings['in_flight']}"
    if "servers" in report:
        lines = [f"{settings['workload']} {shape}, medians of the alternating runs"]
        for name, server in report["servers"].items():
            medians = server["medians"]
            lines.append(
                f"{name}  {server['address']:<22} {medians['rate_per_second']:>12,.0f}/s  "
                f"{_latency_text(medians['latency_ms'])}"
            )
        ratios = report["a_to_b"]
        lines.append(f"a to b: rate {ratios['rate']}, p50 {ratios['p50']}, p99 {ratios['p99']}")
        return "\n".join(lines)
    results = report["results"]
    lines = [
        f"{settings['workload']} {shape} at {settings['address']}, {results['seconds']:.1f} s",
        f"rate     {results['rate_per_second']:,.0f}/s",
        f"latency  {_latency_text(results['latency_ms'])}",
        f"answers  {results['ok']:,} ok, {results['errors']:,} errors, "
        f"{results['unanswered']:,} missing",
    ]
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
    return "\n".join(lines)


def _settings(settings: LoadSettings) -> dict[str, Any]:
    return {
        "address": str(settings.address),
        "workload": settings.workload.value,
        "connections": settings.connections,
        "in_flight": settings.in_flight,
        "seconds": settings.seconds,
        "warmup_seconds": settings.warmup_seconds,
        "instances": settings.instances,
        "processes": settings.processes,
        "prefix": settings.prefix,
    }


def _results(result: LoadResult) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "errors": result.errors,
        "unanswered": result.unanswered,
        "first_error": result.first_error,
        "seconds": round(result.seconds, 3),
        "rate_per_second": round(result.rate_per_second, 1),
        "latency_ms": result.latencies.summary_ms(),
    }


def _median_latencies(runs: list[LoadResult]) -> dict[str, float]:
    summaries = [each.latencies.summary_ms() for each in runs]
    return {name: round(median(each[name] for each in summaries), 4) for name in summaries[0]}


def _ratio(value: float, floor: float) -> float | None:
    return round(value / floor, 3) if floor else None


def _latency_text(latency: dict[str, float]) -> str:
    return (
        f"p50 {latency['p50']:.3f}  p90 {latency['p90']:.3f}  p99 {latency['p99']:.3f}  "
        f"p99.9 {latency['p99_9']:.3f}  max {latency['max']:.3f} ms"
    )
