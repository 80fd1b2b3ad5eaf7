"""The live view on a terminal, until q or Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rstmdb_cli.output import escaped
from rstmdb_cli.tables import console, state_style

if TYPE_CHECKING:
    from rstmdb_protocol import InfoResult, WalStatsResult

    from .traffic import Sample, Traffic

__all__ = ["pressed_q", "show", "view"]

_BARS = " ▁▂▃▄▅▆▇█"
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def show(render: Callable[[], Group | None], interval: float) -> None:
    """Draw anew every `interval` seconds, until q or Ctrl-C, or there is nothing to draw."""
    out = console()
    with _keys() as pressed, Live(console=out, screen=True, auto_refresh=False) as live:
        while (picture := render()) is not None:
            live.update(picture, refresh=True)
            if pressed(interval):
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Keys one by one, without an echo; the call waits and says whether q was among them."""
    source = sys.stdin.fileno()
    if not os.isatty(source):
        yield _wait
        return
    before = termios.tcgetattr(source)
    tty.setcbreak(source)
    try:
        yield lambda secs: pressed_q(source, secs)
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)


def _wait(secs: float) -> bool:
    time.sleep(secs)
    return False


def pressed_q(source: int, secs: float) -> bool:
    """Wait for so many seconds, shorter when q is pressed or nothing can be pressed any more."""
    until = time.monotonic() + secs
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(InterruptedError):
            if select.select([source], [], [], left)[0]:
                keys = os.read(source, 64)
                if not keys or b"q" in keys.lower():
                    return True
    return False


def view(
    info: InfoResult, wal: WalStatsResult, sample: Sample, traffic: Traffic, now: float
) -> Group:
    """The whole screen."""
    return Group(
        _head(info, wal, sample, traffic, now),
        _machines(sample),
        _latest(traffic, now),
        Text(" q or Ctrl-C leaves", style="bright_black"),
    )


def _head(
    info: InfoResult, wal: WalStatsResult, sample: Sample, traffic: Traffic, now: float
) -> Panel:
    """The server in four columns, and the last minute as bars."""
    grid = Table.grid(padding=(0, 3))
    for _ in range(4):
        grid.add_column()
    facts = (
        (("up", _duration(info.uptime_secs or 0)), ("connections", f"{info.connections or 0:,}")),
        (("instances", f"{info.instances or 0:,}"), ("machines", f"{info.machines or 0:,}")),
        (("log", _size(wal.total_size_bytes)), ("segments", f"{wal.segment_count:,}")),
        (("records", f"{wal.entry_count:,}"), ("offset", f"{wal.latest_offset:,}")),
    )
    for line in range(2):
        grid.add_row(*(_fact(*column[line]) for column in facts))
    counts = traffic.per_second(now, 60)
    most = max(counts) or 1
    bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)
    rate = Text.assemble(
        (f"{sample.per_sec:,.1f}", "bold green"),
        " events/s   ",
        (bars, "green"),
        (f"  last minute, at most {max(counts):,}/s", "bright_black"),
    )
    title = f"[bold]{info.server_name} {info.server_version}"
    return Panel(Group(grid, rate), title=title, title_align="left", border_style="bright_black")


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "bright_black"), (value, "bold"))


def _machines(sample: Sample) -> Table:
    table = _table("machine", "events/s", "events", "instances by state", right=(1, 2))
    for row in sample.machines[:12]:
        states = Text()
        for name, count in sample.states.get(row.machine, {}).items():
            states.append(f"{escaped(name)} ", style=state_style(name))
            states.append(f"{count:,}  ")
        style = "bold" if row.per_sec else ""
        table.add_row(
            Text(escaped(row.machine), style="bold"),
            Text(f"{row.per_sec:,.1f}", style=style),
            Text(f"{row.events:,}"),
            states,
        )
    if len(sample.machines) > 12:
        table.add_row(Text(f"and {len(sample.machines) - 12} more", style="bright_black"))
    return table


def _latest(traffic: Traffic, now: float) -> Table:
    table = _table("ago", "instance", "machine", "event", "transition", right=(0,))
    for at, event in reversed(traffic.latest):
        table.add_row(
            Text(f"{now - at:.0f} s", style="bright_black"),
            Text(escaped(event.instance_id), style="bold", overflow="ellipsis", no_wrap=True),
            Text(escaped(event.machine)),
            Text(escaped(event.event), style="bold"),
            Text.assemble(
                (escaped(event.from_state), state_style(event.from_state)),
                (" → ", "bright_black"),
                (escaped(event.to_state), state_style(event.to_state)),
            ),
        )
    if not traffic.latest:
        table.add_row("", Text("no event since this view began", style="bright_black"))
    return table


def _table(*headings: str, right: tuple[int, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, border_style="bright_black", expand=True)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number in right else "left")
    return table


def _duration(secs: float) -> str:
    minutes, hours, days = int(secs) // 60, int(secs) // 3600, int(secs) // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(secs) % 60} s" if minutes else f"{int(secs)} s"


def _size(count: int) -> str:
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} B"
