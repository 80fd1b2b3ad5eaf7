"""Takes the pictures of the command line: `nox -s pictures`, `nox -s pictures -- top`.

A real server is started, rstmdb-cli is driven on a terminal that is emulated, and what the screen
shows is written as SVG. Needs everything that the tests need.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests/support"))

from rstmdb_server.testing import ServerProcess  # noqa: E402
from terminal import Terminal  # noqa: E402 (found by the line above)
from wire import Wire  # noqa: E402

ORDER = {
    "states": ["created", "paid", "packed", "shipped", "delivered", "cancelled", "returned"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},
        {"from": "created", "event": "EDIT", "to": "created"},
        {"from": "paid", "event": "PACK", "to": "packed"},
        {"from": "packed", "event": "UNPACK", "to": "paid"},
        {"from": "packed", "event": "SHIP", "to": "shipped", "guard": "ctx.weight <= 30"},
        {"from": "shipped", "event": "TRACK", "to": "shipped"},
        {"from": "shipped", "event": "DELIVER", "to": "delivered"},
        {"from": ["shipped", "delivered"], "event": "RETURN", "to": "returned"},
        {"from": ["created", "paid"], "event": "CANCEL", "to": "cancelled"},
    ],
}
TICKET = {
    "states": ["open", "doing", "done"],
    "initial": "open",
    "transitions": [
        {"from": "open", "event": "TAKE", "to": "doing"},
        {"from": "doing", "event": "FINISH", "to": "done"},
        {"from": "done", "event": "REOPEN", "to": "open"},
    ],
}
WAY = ("PAY", "PACK", "SHIP", "TRACK", "DELIVER", "RETURN")

THEME = TerminalTheme(
    (24, 28, 32), (216, 220, 224),
    [(60, 66, 72), (224, 108, 105), (127, 190, 124), (222, 184, 106), (97, 160, 214),
     (186, 134, 204), (92, 184, 190), (216, 220, 224)],
    [(124, 132, 140), (240, 130, 126), (152, 212, 148), (240, 206, 130), (130, 186, 236),
     (208, 160, 226), (124, 210, 214), (255, 255, 255)],
)  # fmt: skip
COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow", "default": "default"}


def fill(server: ServerProcess) -> None:
    """Some orders on their way, and tickets."""
    with Wire(server.host, server.port) as wire:
        wire.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
        wire.call("PUT_MACHINE", machine="ticket", version=1, definition=TICKET)
        for number in range(1, 9):
            ctx = {"amount": 10 * number, "weight": number}
            create(wire, f"order-{number}", "order", ctx)
            for event in WAY[: (number * 5) % 7]:
                wire.call("APPLY_EVENT", instance_id=f"order-{number}", event=event)
        for number in range(1, 4):
            create(wire, f"ticket-{number}", "ticket", {})


def create(wire: Wire, name: str, machine: str, ctx: Mapping[str, object]) -> None:
    """An instance of version 1."""
    wire.call("CREATE_INSTANCE", instance_id=name, machine=machine, version=1, initial_ctx=ctx)


def traffic(server: ServerProcess, stop: threading.Event) -> None:
    """Events, more at one time than at another, until `stop`."""
    with Wire(server.host, server.port) as wire:
        for number in range(40):
            create(wire, f"job-{number}", "ticket", {})
        count = 0
        while not stop.is_set():
            name = f"job-{count % 40}"
            event = ("TAKE", "FINISH", "REOPEN")[count // 40 % 3]
            wire.call("APPLY_EVENT", instance_id=name, event=event)
            count += 1
            time.sleep(0.002 + 0.012 * (int(time.monotonic()) % 5))


def picture(terminal: Terminal, name: str, title: str) -> None:
    """Write what the screen shows, without the empty lines at its end."""
    screen = terminal.screen
    lines = [row(screen, number) for number in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(record=True, width=screen.columns, file=StringIO())
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    no_fonts = re.sub(r"\s*@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    mono = "ui-monospace, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
    layout = no_fonts.replace("Fira Code, monospace", mono)
    console.save_svg(
        str(HERE / f"{name}.svg"), title=title, theme=THEME, code_format=layout, unique_id=name
    )


def row(screen: pyte.Screen, number: int) -> Text:
    """A line of the screen in its colours."""
    text = Text()
    for column in range(screen.columns):
        char = screen.buffer[number][column]
        text.append(char.data or " ", style=style(char))
    return text


def style(char: pyte.screens.Char) -> Style:
    """The style of a character; pyte has names for eight colours and hexadecimal digits else."""
    fore, back = (
        f"#{c}" if re.fullmatch("[0-9a-f]{6}", c) else COLOURS.get(c, bright(c))
        for c in (char.fg, char.bg)
    )
    return Style(
        color=fore, bgcolor=back, bold=char.bold, underline=char.underscore, reverse=char.reverse
    )


def bright(name: str) -> str:
    """Rich's name of pyte's colour."""
    return f"bright_{name.removeprefix('bright')}" if name.startswith("bright") else name


def settle(terminal: Terminal) -> None:
    """Take in what is still being drawn."""
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        terminal.read(0.1)


def repl(home: Path, server: ServerProcess) -> None:
    """Events that are allowed now."""
    terminal = Terminal(home, "-s", server.address, rows=24, columns=100)
    terminal.shows("Tab completes")
    terminal.send('create order 1 order-9 {"amount": 25}\r').shows("wal_offset")
    terminal.send("aply order-9 PAY\r").shows("did you mean")
    terminal.send("apply order-9 PAY\r").shows("applied")
    terminal.send("apply order-9 ").shows("paid → cancelled")
    terminal.send("\x1b[B").shows("order-9 PACK")
    settle(terminal)
    picture(terminal, "cli-repl", "rstmdb-cli")
    terminal.close()


def wrong_json(home: Path, server: ServerProcess) -> None:
    """What is told while JSON is typed."""
    terminal = Terminal(home, "-s", server.address, rows=14, columns=100)
    terminal.shows("Tab completes")
    terminal.send('apply order-9 PACK {"parcel": "42", weight').shows("JSON: ")
    settle(terminal)
    picture(terminal, "cli-json", "rstmdb-cli")
    terminal.close()


def tables(home: Path, server: ServerProcess) -> None:
    """Instances and a machine."""
    terminal = Terminal(home, "-s", server.address, rows=49, columns=112)
    terminal.shows("Tab completes")
    terminal.send("list order\r").shows("has_more")
    terminal.send("get order-3\r").shows("updated_at")
    terminal.send("machine order\r").shows("CANCEL")
    settle(terminal)
    picture(terminal, "cli-tables", "rstmdb-cli")
    terminal.close()


def top(home: Path, server: ServerProcess) -> None:
    """The live view while events come."""
    stop = threading.Event()
    thread = threading.Thread(target=traffic, args=(server, stop))
    thread.start()
    terminal = Terminal(home, "-s", server.address, "top", rows=34, columns=112)
    until = time.monotonic() + 25
    while time.monotonic() < until:
        terminal.shows("q or Ctrl-C leaves")
        terminal.read(1.0)
    settle(terminal)
    picture(terminal, "cli-top", "rstmdb-cli top")
    terminal.close()
    stop.set()
    thread.join()


def diagram(home: Path, server: ServerProcess) -> None:
    """An instance in its machine."""
    with Wire(server.host, server.port) as wire:
        found = wire.call("LIST_INSTANCES", machine="order", state="shipped")["instances"]
    target = HERE / "cli-diagram.svg"
    command = ("-s", server.address, "get-instance", found[0]["id"], "--svg", str(target))
    terminal = Terminal(home, *command)
    if terminal.ends() != 0:
        sys.exit(terminal.text())


def main() -> None:
    """Take all pictures, or those that are named."""
    takes = {"tables": tables, "repl": repl, "json": wrong_json, "diagram": diagram, "top": top}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with ServerProcess(home) as server:
            fill(server)
            for name in sys.argv[1:] or takes:
                takes[name](home, server)
    print(json.dumps(sorted(path.name for path in HERE.glob("cli-*.svg"))))


if __name__ == "__main__":
    main()
