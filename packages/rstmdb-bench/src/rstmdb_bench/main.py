"""The command line of rstmdb-bench."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from . import __version__
from ._connect import Address
from ._echo import serve_echo
from ._errors import BenchError
from ._floors import echo_floor, sync_floor
from ._frames import Workload
from ._load import LoadResult, LoadSettings, run_load
from ._report import Floors, comparison_report, render_json, render_text, run_report

__all__ = ["main"]

EXIT_ERRORS = 1
EXIT_FAILED = 3


class _AddressType(click.ParamType[Address]):
    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        try:
            return Address.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


ADDRESS = _AddressType()

LOAD_OPTIONS = (
    click.option(
        "--workload",
        type=click.Choice([workload.value for workload in Workload]),
        default=Workload.APPLY.value,
        show_default=True,
        help="What the requests ask for.",
    ),
    click.option("--connections", type=click.IntRange(1, 10_000), default=16, show_default=True),
    click.option(
        "--in-flight",
        type=click.IntRange(1, 16_384),
        default=1,
        show_default=True,
        help="Requests that each connection keeps unanswered.",
    ),
    click.option(
        "--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Of a run."
    ),
    click.option(
        "--warmup", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds."
    ),
    click.option("--instances", type=click.IntRange(1), default=1000, show_default=True),
    click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True),
    click.option("--prefix", default="bench", show_default=True, help="Of the instances' ids."),
    click.option("--token", envvar="RSTMDB_TOKEN", help="For AUTH; or RSTMDB_TOKEN."),
    click.option(
        "-o",
        "--output",
        type=click.Choice(["json", "text"]),
        default="text",
        show_default=True,
    ),
)


def _load_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(LOAD_OPTIONS):
        command = option(command)
    return command


@click.group(
    epilog="Exit codes: 0 all answers ok, 1 some were not, 2 usage, 3 no run was possible."
)
@click.version_option(__version__, prog_name="rstmdb-bench")
def main() -> None:
    """Measure RCP servers with a closed loop of requests."""


@main.command()
@click.option("--address", type=ADDRESS, default="127.0.0.1:7401", show_default=True)
@_load_options
@click.option("--floors/--no-floors", default=True, show_default=True, help="Measure E and F too.")
@click.option("--floor-seconds", type=click.FloatRange(0.1), default=2.0, show_default=True)
@click.option(
    "--floor-directory",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where F is measured: the disk of the server's data. By default the current directory.",
)
def run(
    address: Address,
    output: str,
    floors: bool,
    floor_seconds: float,
    floor_directory: Path,
    **options: Any,
) -> None:
    """Measure one server, and the floors of this machine."""
    settings = _settings(address, options)
    try:
        result = run_load(settings)
        measured = None
        if floors:
            echo = echo_floor(settings, floor_seconds)
            sync = sync_floor(floor_directory, floor_seconds)
            measured = Floors(echo, sync, str(floor_directory.resolve()))
    except BenchError as error:
        _fail(error)
    _show(run_report(settings, result, measured), output)
    if result.errors or result.unanswered:
        sys.exit(EXIT_ERRORS)


@main.command()
@click.option("--a", "first", type=ADDRESS, required=True, help="One server.")
@click.option("--b", "second", type=ADDRESS, required=True, help="The other one.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, show_default=True)
@_load_options
def compare(first: Address, second: Address, rounds: int, output: str, **options: Any) -> None:
    """Alternate runs between two servers: medians, and the ratios of a to b."""
    settings = {"a": _settings(first, options), "b": _settings(second, options)}
    results: dict[str, list[LoadResult]] = {name: [] for name in settings}
    try:
        for _ in range(rounds):
            for name, each in settings.items():
                results[name].append(run_load(each))
    except BenchError as error:
        _fail(error)
    _show(comparison_report(settings, results), output)
    if any(each.errors or each.unanswered for runs in results.values() for each in runs):
        sys.exit(EXIT_ERRORS)


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


def _settings(address: Address, options: dict[str, Any]) -> LoadSettings:
    options = options | {"workload": Workload(options["workload"])}
    return LoadSettings(address=address, warmup_seconds=options.pop("warmup"), **options)


def _show(report: dict[str, Any], output: str) -> None:
    click.echo(render_json(report) if output == "json" else render_text(report))


def _fail(error: BenchError) -> NoReturn:
    click.echo(f"rstmdb-bench: {error}", err=True)
    sys.exit(EXIT_FAILED)
