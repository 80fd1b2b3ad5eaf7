"""Results as JSON objects: what a run, a sweep, a comparison and a fan-out have measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from statistics import median
from typing import Any

from . import __version__
from ._floors import SYNC_BYTES, loop_name
from ._load import LoadSettings
from ._result import LoadResult
from ._watchers import WatchResult, WatchSettings
from ._workload import operations_of

__all__ = [
    "Floors",
    "comparison_report",
    "machine",
    "run_report",
    "shape_text",
    "sweep_report",
    "watch_report",
]


@dataclass(frozen=True, slots=True)
class Floors:
    """What was measured beside the run."""

    echo: LoadResult
    sync_per_second: float
    directory: str


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "echo_loop": loop_name(),
    }


def run_report(
    settings: LoadSettings,
    result: LoadResult,
    floors: Floors | None,
    scraped: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything about one run; rates per second, latencies in milliseconds."""
    report: dict[str, Any] = {
        "kind": "run",
        "version": __version__,
        "settings": _settings(settings),
        "results": _results(settings, result),
        "distribution_ms": result.latencies.curve_ms(),
        "series": result.series(),
    }
    if scraped is not None:
        report["server"] = scraped
    if floors is not None:
        rate, echo = result.rate_per_second, floors.echo.rate_per_second
        report["floors"] = {
            "echo": {
                "loop": loop_name(),
                "rate_per_second": round(echo, 1),
                "latency_ms": floors.echo.latencies.summary_ms(),
            },
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


def sweep_report(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs of several workloads at several concurrencies against one server."""
    return {"kind": "sweep", "version": __version__, "machine": machine(), "runs": runs}


def watch_report(settings: WatchSettings, result: WatchResult) -> dict[str, Any]:
    """Everything about a fan-out."""
    return {
        "kind": "watch",
        "version": __version__,
        "settings": {
            "address": str(settings.address),
            "watchers": settings.watchers,
            "in_flight": settings.in_flight,
            "seconds": settings.seconds,
            "include_ctx": settings.include_ctx,
        },
        "results": {
            "events": result.events,
            "deliveries": result.deliveries,
            "seconds": round(result.seconds, 3),
            "deliveries_per_second": round(result.deliveries_per_second, 1),
            "latency_ms": result.latencies.summary_ms(),
        },
        "distribution_ms": result.latencies.curve_ms(),
    }


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
        "kind": "comparison",
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


def shape_text(settings: dict[str, Any]) -> str:
    """The load of a run in a few letters: 16 x 4, or a rate over connections."""
    if settings.get("rate_per_second"):
        return f"{settings['rate_per_second']:,.0f}/s over {settings['connections']}"
    return f"{settings['connections']} x {settings['in_flight']}"


def _settings(settings: LoadSettings) -> dict[str, Any]:
    shape = settings.shape
    return {
        "address": str(settings.address),
        "workload": settings.workload.value,
        "connections": settings.connections,
        "in_flight": settings.in_flight,
        "rate_per_second": settings.rate_per_second,
        "seconds": settings.seconds,
        "warmup_seconds": settings.warmup_seconds,
        "instances": shape.instances,
        "processes": settings.processes,
        "prefix": shape.prefix,
        "batch_ops": shape.batch_ops,
        "context_bytes": shape.context_bytes,
    }


def _results(settings: LoadSettings, result: LoadResult) -> dict[str, Any]:
    results: dict[str, Any] = {
        "ok": result.ok,
        "errors": result.errors,
        "unanswered": result.unanswered,
        "first_error": result.first_error,
        "seconds": round(result.seconds, 3),
        "rate_per_second": round(result.rate_per_second, 1),
        "latency_ms": result.latencies.summary_ms(),
    }
    operations = operations_of(settings.workload, settings.shape)
    if operations > 1:
        results["operations_per_second"] = round(result.rate_per_second * operations, 1)
    if settings.rate_per_second is not None:
        results["generator_late_ms"] = result.late.summary_ms()
    return results


def _median_latencies(runs: list[LoadResult]) -> dict[str, float]:
    summaries = [each.latencies.summary_ms() for each in runs]
    return {name: round(median(each[name] for each in summaries), 4) for name in summaries[0]}


def _ratio(value: float, floor: float) -> float | None:
    return round(value / floor, 3) if floor else None
