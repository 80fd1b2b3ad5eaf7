"""top: rates and latest transitions, on a terminal and as objects."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from rstmdb_cli.top import Traffic
from rstmdb_protocol import EventMessage
from rstmdb_server.testing import ServerProcess
from terminal import Terminal
from wire import Wire

Run = Callable[..., Result]


def event(machine: str) -> EventMessage:
    return EventMessage("s", "i", machine, 1, 5, "a", "b", "E")


# -- counting --------------------------------------------------------------------------------------


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    traffic = Traffic(began=0.0)
    for second in range(100):
        for _ in range(3):
            traffic.take(event("a"), second + 0.5)
    traffic.take(event("b"), 99.9)
    sample = traffic.sample(100.0, {"c": {"x": 1}})
    assert sample.events == 301
    assert [(row.machine, row.events) for row in sample.machines] == [
        ("a", 300),
        ("b", 1),
        ("c", 0),
    ]
    assert sample.machines[0].per_sec == pytest.approx(3.0)
    assert sample.per_sec == pytest.approx(3.1)
    assert traffic.per_second(100.0, 5) == [3, 3, 3, 3, 4]
    assert traffic.sample(120.0, {}).per_sec == 0.0
    assert len(traffic.latest) == 12


def test_at_first_the_rate_is_that_since_the_beginning() -> None:
    traffic = Traffic(began=50.0)
    for _ in range(8):
        traffic.take(event("a"), 51.0)
    assert traffic.sample(52.0, {}).per_sec == pytest.approx(4.0)


# -- as objects ------------------------------------------------------------------------------------


def test_objects_where_no_one_looks_on(
    server: ServerProcess, wire: Wire, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    process = spawn("-s", server.address, "top", "--interval", "0.2", "--count", "30")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["events"] == 0
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    seen: dict[str, Any] = {}
    while not (seen and seen["machines"][0]["instances_by_state"] == {"paid": 1}):
        seen = json.loads(process.stdout.readline())
    while not seen["events_per_sec"]:
        seen = json.loads(process.stdout.readline())
    assert seen["machines"][0]["machine"] == "order"
    assert seen["events"] == 1
    assert seen["instances"] == 1
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "stopped\n")


@pytest.mark.parametrize("output", ["json", "ndjson", "yaml", "table"])
def test_it_ends_after_so_many(cli: Run, output: str) -> None:
    result = cli("-o", output, "top", "--interval", "0.1", "--count", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("events_per_sec") == 4
    if output == "yaml":
        assert [found["instances"] for found in yaml.safe_load_all(result.stdout)] == [1, 1]


def test_what_it_refuses(cli: Run, invoke: Run) -> None:
    assert cli("top", "--interval", "0").exit_code == 2
    assert cli("top", "--count", "0").exit_code == 2
    gone = invoke("-s", "127.0.0.1:1", "top")
    assert (gone.exit_code, gone.stdout) == (3, "")


# -- live ------------------------------------------------------------------------------------------


@pytest.fixture
def live(server: ServerProcess, wire: Wire, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, "-s", server.address, "top", "--interval", "0.2", rows=40)
    terminal.shows("q or Ctrl-C leaves")
    yield terminal
    terminal.close()


def test_the_screen_shows_what_happens(live: Terminal, wire: Wire) -> None:
    assert "rstmdb" in live.shows("created 1")
    assert "no event since" in live.text()
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    live.shows("created → paid")
    shown = live.shows("paid 1")
    assert "events/s" in shown
    assert "o-1" in shown


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_a_key_leaves_and_gives_the_terminal_back(live: Terminal, key: str) -> None:
    live.send(key)
    assert live.ends() == 0
    assert b"\x1b[?1049l" in live.raw
    assert "Traceback" not in live.text()


def test_a_server_that_goes_away_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with ServerProcess(folder) as server:
        url = f"rstmdb://{server.address}?retry_timeout=0"
        terminal = Terminal(tmp_path, "--url", url, "top", "--interval", "0.2", rows=40)
        terminal.shows("q or Ctrl-C leaves")
        server.kill()
        assert terminal.ends() == 3
        assert "Traceback" not in terminal.text()
        assert "rstmdb-cli: " in terminal.text()
