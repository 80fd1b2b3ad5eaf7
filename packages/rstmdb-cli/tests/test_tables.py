"""What people see on a terminal, and what a pipe gets: tables, colours, progress bars."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rstmdb_cli.progress import progress
from rstmdb_server.testing import ServerProcess
from rstmdb_storage import Database
from terminal import Terminal
from wire import Wire

Run = Callable[..., Result]

RING = {"states": ["x"], "initial": "x", "transitions": [{"from": "x", "event": "T", "to": "x"}]}


@pytest.fixture
def on_terminal(
    server: ServerProcess, wire: Wire, tmp_path: Path
) -> Iterator[Callable[..., Terminal]]:
    """Run a command on a terminal to its end."""
    started: list[Terminal] = []

    def run(*arguments: str, code: int = 0, **options: Any) -> Terminal:
        terminal = Terminal(tmp_path, "-s", server.address, *arguments, **options)
        started.append(terminal)
        assert terminal.ends() == code, terminal.text()
        return terminal

    yield run
    for terminal in started:
        terminal.close()


def test_rows_are_a_table_with_colours(on_terminal: Callable[..., Terminal]) -> None:
    shown = on_terminal("list-instances")
    top, heading, _, row, bottom, rest, *_ = shown.text().splitlines()
    assert (top[0], top[-1], bottom[0], bottom[-1]) == ("╭", "╮", "╰", "╯")
    assert heading.split("│")[1].strip() == "id"
    assert [cell.strip() for cell in row.split("│")[1:5]] == ["o-1", "order", "1", "created"]
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row)
    assert rest.strip() == "total: 1, has_more: false"
    assert b"\x1b[" in shown.raw


def test_an_object_is_a_line_a_field(on_terminal: Callable[..., Terminal]) -> None:
    shown = on_terminal("get-instance", "o-1")
    assert re.search(r"^state +created$", shown.text(), re.MULTILINE)
    assert '{"amount": 10}' in shown.text()


def test_a_machine_is_a_table_of_transitions(on_terminal: Callable[..., Terminal]) -> None:
    shown = on_terminal("get-machine", "order").text()
    assert "created (initial), paid, shipped (final)" in shown
    assert re.search(r"│ created +│ PAY +│ paid +│ ctx.amount > 0 +│", shown)


def test_long_json_goes_over_lines_and_is_whole(
    on_terminal: Callable[..., Terminal], wire: Wire
) -> None:
    ctx = {f"key{n}": n for n in range(12)}
    wire.call("CREATE_INSTANCE", instance_id="long", machine="order", version=1, initial_ctx=ctx)
    shown = on_terminal("get-instance", "long", columns=50).text()
    assert all(f'"key{n}": {n}' in shown for n in range(12))


def test_nothing_is_cut_on_a_narrow_terminal(
    on_terminal: Callable[..., Terminal], wire: Wire
) -> None:
    name = "a-long-name-of-an-instance-0123456789"
    wire.call("CREATE_INSTANCE", instance_id=name, machine="order", version=1)
    shown = on_terminal("list-instances", columns=60, rows=60).text()
    column = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert name in "".join(column)


def test_json_on_a_terminal_has_no_colours(on_terminal: Callable[..., Terminal]) -> None:
    for output in ("json", "ndjson", "yaml"):
        assert b"\x1b" not in on_terminal("-o", output, "get-instance", "o-1").raw


def test_no_color_is_honoured(on_terminal: Callable[..., Terminal]) -> None:
    shown = on_terminal("list-instances", NO_COLOR="1")
    assert "o-1" in shown.text()
    assert b"\x1b[" not in on_terminal("get-instance", "none", code=5, NO_COLOR="1").raw
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", shown.raw)
    assert not re.search(rb"\x1b\[[0-9;]*9[0-7]", shown.raw)


def test_control_characters_do_not_reach_the_terminal(
    on_terminal: Callable[..., Terminal], wire: Wire
) -> None:
    ctx = {"amount": 1, "v": "\x1b]0;title\x07\u202e"}
    wire.call("CREATE_INSTANCE", instance_id="bad", machine="order", version=1, initial_ctx=ctx)
    for command in (("get-instance", "bad"), ("wal-read", "-l", "1000")):
        raw = on_terminal(*command).raw.decode()
        assert "\x1b]" not in raw
        assert "\x07" not in raw
        assert "\u202e" not in raw


def test_markup_in_names_is_text(on_terminal: Callable[..., Terminal], wire: Wire) -> None:
    wire.call("CREATE_INSTANCE", instance_id="[red]x[/red] :smile:", machine="order", version=1)
    assert "[red]x[/red] :smile:" in on_terminal("list-instances", columns=140).text()


def test_piped_columns_are_aligned_for_wide_letters(cli: Run, wire: Wire) -> None:
    wire.call("CREATE_INSTANCE", instance_id="中文", machine="order", version=1)
    heading, ascii_row, wide_row, _ = cli("list-instances").stdout.splitlines()
    assert ascii_row.index("order") == heading.index("MACHINE")
    assert wide_row.index("order") == heading.index("MACHINE") - 2
    assert "\x1b" not in cli("list-instances").stdout


def test_errors_on_a_terminal(on_terminal: Callable[..., Terminal]) -> None:
    shown = on_terminal("get-instance", "none", code=5)
    assert shown.text().startswith("rstmdb-cli: INSTANCE_NOT_FOUND: ")
    assert shown.raw.startswith(b"\x1b[31mrstmdb-cli: INSTANCE_NOT_FOUND\x1b[0m: ")


# -- progress --------------------------------------------------------------------------------------


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("working") as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A database with a log of some size."""
    with Database.open(tmp_path / "data") as db:
        db.put_machine("ring", 1, RING)
        db.create_instance("ring", 1, instance_id="r")
        for n in range(300):
            db.apply_event("r", "T", {"n": n, "pad": os.urandom(4000).hex()})
        db.backup(tmp_path / "backup")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "label"),
    [
        (("verify", "data"), "verifying"),
        (("restore", "backup", "new"), "restoring"),
        (("repair", "--yes", "data"), "repairing"),
    ],
)
def test_tools_show_how_far_they_are(
    directory: Path, command: tuple[str, ...], label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    terminal = Terminal(directory, *command)
    assert terminal.ends() == 0, terminal.text()
    assert label.encode() in terminal.raw
    assert label not in terminal.text()  # it is gone at the end


def test_an_import_shows_how_far_it_is(
    on_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    file = tmp_path / "ops"
    file.write_text('{"op": "GET_INSTANCE", "params": {"instance_id": "o-1"}}\n' * 300)
    shown = on_terminal("batch", str(file))
    assert b"importing" in shown.raw
    assert "300 lines: 300 done, 0 failed" in shown.text()


def test_no_bar_comes_between_lines_on_the_same_terminal(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data") as db:
        db.put_machine("ring", 1, RING)
    terminal = Terminal(tmp_path, "dump", str(tmp_path / "data"))
    assert terminal.ends() == 0
    assert '"ring"' in terminal.text()
    assert b"dumping" not in terminal.raw
