"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ._connect import Address
from ._load import LoadSettings
from ._workload import Shape, Workload

__all__ = [
    "ADDRESS",
    "FLOORS",
    "INSTANCES",
    "LOAD",
    "OUTPUT",
    "WORKLOAD",
    "load_settings",
    "with_options",
]

Option = Callable[[Callable[..., None]], Callable[..., None]]


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

WORKLOAD: tuple[Option, ...] = (
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
        "--rate",
        type=click.FloatRange(1),
        help="Open loop: requests a second over all connections, each sent at its time, with "
        "latencies from that time. Without it the loop is closed.",
    ),
)

INSTANCES: tuple[Option, ...] = (
    click.option("--instances", type=click.IntRange(1), default=1000, show_default=True),
    click.option("--prefix", default="bench", show_default=True, help="Of the instances' ids."),
    click.option("--token", envvar="RSTMDB_TOKEN", help="For AUTH; or RSTMDB_TOKEN."),
)

SIZES: tuple[Option, ...] = (
    click.option(
        "--batch-ops",
        type=click.IntRange(1, 1000),
        default=10,
        show_default=True,
        help="Events in a request of batch.",
    ),
    click.option(
        "--context-bytes",
        type=click.IntRange(1, 1 << 23),
        default=16_384,
        show_default=True,
        help="About how long a context of large-context is.",
    ),
)

LOAD: tuple[Option, ...] = (
    click.option(
        "--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Of a run."
    ),
    click.option(
        "--warmup", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds."
    ),
    click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True),
    click.option(
        "--interval",
        type=click.FloatRange(0.01),
        default=0.25,
        show_default=True,
        help="Seconds of one point of the series over time.",
    ),
    click.option(
        "--prepared",
        is_flag=True,
        help="The machine and the instances are there already: create none.",
    ),
    *INSTANCES,
    *SIZES,
)

FLOORS: tuple[Option, ...] = (
    click.option(
        "--floors/--no-floors", default=True, show_default=True, help="Measure E and F too."
    ),
    click.option("--floor-seconds", type=click.FloatRange(0.1), default=2.0, show_default=True),
    click.option(
        "--floor-directory",
        type=click.Path(path_type=Path),
        default=Path(),
        help="Where F is measured: the disk of the server's data. By default the current "
        "directory.",
    ),
)

OUTPUT: tuple[Option, ...] = (
    click.option(
        "-o", "--output", type=click.Choice(["json", "text"]), default="text", show_default=True
    ),
    click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON, too."),
)


def with_options(*groups: tuple[Option, ...]) -> Option:
    """A decorator that adds groups of options, shown in their order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


def load_settings(address: Address, **options: Any) -> LoadSettings:
    """The settings that the options of WORKLOAD and LOAD say."""
    return LoadSettings(
        address=address,
        workload=Workload(options["workload"]),
        connections=options["connections"],
        in_flight=options["in_flight"],
        seconds=options["seconds"],
        warmup_seconds=options["warmup"],
        shape=Shape(
            options["prefix"],
            options["instances"],
            options["batch_ops"],
            options["context_bytes"],
        ),
        processes=options["processes"],
        rate_per_second=options["rate"],
        interval_seconds=options["interval"],
        prepared=options["prepared"],
        token=options["token"],
    )
