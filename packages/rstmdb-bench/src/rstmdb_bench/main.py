"""The command line of rstmdb-bench."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from . import __version__
from ._connect import Address
from ._diff import diff_report, load_results
from ._echo import serve_echo
from ._errors import BenchError
from ._floors import echo_floor, sync_floor
from ._load import LoadSettings, run_load
from ._options import (
    ADDRESS,
    FLOORS,
    INSTANCES,
    LOAD,
    OUTPUT,
    WORKLOAD,
    load_settings,
    with_options,
)
from ._report import Floors, comparison_report, run_report, sweep_report, watch_report
from ._result import LoadResult
from ._scrape import Scraper
from ._text import render_json, render_text, sweep_head, sweep_row
from ._watchers import WatchSettings, run_watchers
from ._workload import Shape, Workload

__all__ = ["main"]

EXIT_ERRORS = 1
EXIT_FAILED = 3

SWEEP_WORKLOADS = ",".join(workload.value for workload in Workload)


@click.group(
    epilog="Exit codes: 0 all answers ok, 1 some were not (diff: something is slower), 2 usage, "
    "3 no run was possible."
)
@click.version_option(__version__, prog_name="rstmdb-bench")
def main() -> None:
    """Measure RCP servers: closed and open loops, fan-out, floors, comparisons, reports."""


@main.command()
@click.option("--address", type=ADDRESS, default="127.0.0.1:7401", show_default=True)
@with_options(WORKLOAD, LOAD, FLOORS, OUTPUT)
@click.option(
    "--metrics-url",
    help="The server's metrics, http://HOST:PORT/metrics: marks snapshots and compactions.",
)
def run(
    address: Address,
    output: str,
    out: Path | None,
    floors: bool,
    floor_seconds: float,
    floor_directory: Path,
    metrics_url: str | None,
    **options: Any,
) -> None:
    """Measure one server, and the floors of this machine."""
    settings = load_settings(address, **options)
    scraped = None
    try:
        with ExitStack() as stack:
            scraper = stack.enter_context(Scraper(metrics_url)) if metrics_url else None
            result = run_load(settings)
        if scraper is not None:
            scraped = scraper.report(result.started_ns)
        measured = _floors(settings, floor_seconds, floor_directory) if floors else None
    except BenchError as error:
        _fail(error)
    _show(run_report(settings, result, measured, scraped), output, out)
    if result.errors or result.unanswered:
        sys.exit(EXIT_ERRORS)


@main.command()
@click.option("--address", type=ADDRESS, default="127.0.0.1:7401", show_default=True)
@click.option(
    "--workloads", default=SWEEP_WORKLOADS, show_default=True, help="Names, with commas between."
)
@click.option(
    "--loads",
    default="1x1,16x1,64x1,16x16",
    show_default=True,
    help="CONNECTIONSxIN_FLIGHT, with commas between.",
)
@with_options(LOAD, FLOORS, OUTPUT)
def sweep(
    address: Address,
    workloads: str,
    loads: str,
    output: str,
    out: Path | None,
    floors: bool,
    floor_seconds: float,
    floor_directory: Path,
    **options: Any,
) -> None:
    """Measure several workloads at several concurrencies, floors beside each."""
    cells = [(name, load) for name in _workloads(workloads) for load in _loads(loads)]
    runs: list[dict[str, Any]] = []
    text = output == "text"
    if text:
        click.echo(sweep_head())
    try:
        for workload, (connections, in_flight) in cells:
            load = {"workload": workload, "connections": connections, "in_flight": in_flight}
            settings = load_settings(address, rate=None, **load, **options)
            result = run_load(settings)
            measured = _floors(settings, floor_seconds, floor_directory) if floors else None
            runs.append(run_report(settings, result, measured))
            if text:
                click.echo(sweep_row(runs[-1]))
    except BenchError as error:
        _fail(error)
    report = sweep_report(runs)
    if not text:
        click.echo(render_json(report))
    _write(report, out)
    if any(each["results"]["errors"] or each["results"]["unanswered"] for each in runs):
        sys.exit(EXIT_ERRORS)


@main.command()
@click.option("--a", "first", type=ADDRESS, required=True, help="One server.")
@click.option("--b", "second", type=ADDRESS, required=True, help="The other one.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, show_default=True)
@with_options(WORKLOAD, LOAD, OUTPUT)
def compare(
    first: Address, second: Address, rounds: int, output: str, out: Path | None, **options: Any
) -> None:
    """Alternate runs between two servers: medians, and the ratios of a to b."""
    settings = {"a": load_settings(first, **options), "b": load_settings(second, **options)}
    results: dict[str, list[LoadResult]] = {name: [] for name in settings}
    try:
        for number in range(rounds):
            # Who goes first changes, so that what follows on another's heels does not count.
            for name in ("a", "b") if number % 2 == 0 else ("b", "a"):
                results[name].append(run_load(settings[name]))
    except BenchError as error:
        _fail(error)
    _show(comparison_report(settings, results), output, out)
    if any(each.errors or each.unanswered for runs in results.values() for each in runs):
        sys.exit(EXIT_ERRORS)


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--by-floors", is_flag=True, help="Compare rates by their ratios to the echo.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="A rate that fell by more makes the exit code 1.",
)
@with_options(OUTPUT)
def diff(
    first: Path, second: Path, by_floors: bool, tolerance: float, output: str, out: Path | None
) -> None:
    """Compare two results, the second to the first: files of run or sweep."""
    try:
        results = load_results(first), load_results(second)
        report = diff_report(*results, floors=by_floors, tolerance=tolerance)
    except BenchError as error:
        _fail(error)
    _show(report, output, out)
    if any(cell["slower"] for cell in report["cells"]):
        sys.exit(EXIT_ERRORS)


@main.command()
@click.option("--address", type=ADDRESS, default="127.0.0.1:7401", show_default=True)
@click.option("--watchers", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Events applied and not yet delivered to all.",
)
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True)
@click.option("--ctx/--no-ctx", default=True, show_default=True, help="Events carry the context.")
@with_options(INSTANCES, OUTPUT)
def watch(
    address: Address,
    watchers: int,
    in_flight: int,
    seconds: float,
    ctx: bool,
    output: str,
    out: Path | None,
    instances: int,
    prefix: str,
    token: str | None,
) -> None:
    """Deliver events to many watchers, each on a connection of its own."""
    shape = Shape(prefix, instances)
    settings = WatchSettings(address, watchers, in_flight, seconds, ctx, shape, token)
    try:
        result = run_watchers(settings)
    except BenchError as error:
        _fail(error)
    _show(watch_report(settings, result), output, out)


@main.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True
)
@click.option("--title", default="rstmdb load report", show_default=True)
def report(results: tuple[Path, ...], out: Path, title: str) -> None:
    """Draw results as one HTML page. Needs the extra `plots`."""
    try:
        from ._page import render_page  # matplotlib takes a second to import
    except ImportError:
        _fail(BenchError("report draws with matplotlib; pip install 'rstmdb-bench[plots]'"))
    try:
        page = render_page(title, [load_results(path) for path in results])
        out.write_text(page)
    except OSError as error:
        _fail(BenchError(f"can't write {out}: {error.strerror or error}"))
    except BenchError as error:
        _fail(error)
    click.echo(f"wrote {out}")


@main.command()
@click.option("--bind", type=ADDRESS, default="127.0.0.1:7499", show_default=True)
def echo(bind: Address) -> None:
    """Serve the floor E: parse each frame, check its CRC, answer frame by frame."""
    try:
        serve_echo(bind, lambda address: click.echo(f"listening on {address}"))
    except OSError as error:
        _fail(BenchError(f"can't listen on {bind}: {error.strerror or error}"))
    except KeyboardInterrupt:
        pass


def _floors(settings: LoadSettings, seconds: float, directory: Path) -> Floors:
    warmup = min(settings.warmup_seconds, seconds / 2)
    echo = echo_floor(replace(settings, warmup_seconds=warmup), seconds)
    return Floors(echo, sync_floor(directory, seconds), str(directory.resolve()))


def _workloads(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [workload.value for workload in Workload]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
    return names


def _loads(text: str) -> list[tuple[int, int]]:
    loads = []
    for load in text.split(","):
        connections, _, in_flight = load.strip().partition("x")
        if not (connections.isdecimal() and in_flight.isdecimal()) or "0" in (
            connections,
            in_flight,
        ):
            raise click.BadParameter(f"{load!r} is no load, which is for example 16x1")
        loads.append((int(connections), int(in_flight)))
    return loads


def _show(report: dict[str, Any], output: str, out: Path | None) -> None:
    click.echo(render_json(report) if output == "json" else render_text(report))
    _write(report, out)


def _write(report: dict[str, Any], out: Path | None) -> None:
    if out is None:
        return
    try:
        out.write_text(render_json(report) + "\n")
    except OSError as error:
        _fail(BenchError(f"can't write {out}: {error.strerror or error}"))


def _fail(error: BenchError) -> NoReturn:
    click.echo(f"rstmdb-bench: {error}", err=True)
    sys.exit(EXIT_FAILED)
