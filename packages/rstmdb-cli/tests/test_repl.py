"""The REPL as people have it: a real terminal, a real server, keys, and what the screen shows."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rstmdb_server.testing import ServerProcess
from terminal import Terminal
from wire import Wire

Run = Callable[..., Result]
Spawn = Callable[..., "subprocess.Popen[str]"]

ENTER, TAB, CTRL_C, CTRL_D, UP = "\r", "\t", "\x03", "\x04", "\x1b[A"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start command lines on terminals whose home is `tmp_path`."""
    started: list[Terminal] = []

    def begin(*arguments: str, **options: Any) -> Terminal:
        started.append(Terminal(tmp_path, *arguments, **options))
        return started[-1]

    yield begin
    for terminal in started:
        terminal.close()


@pytest.fixture
def repl(server: ServerProcess, wire: Wire, start: Callable[..., Terminal]) -> Terminal:
    """A REPL at its first prompt, with no command given."""
    terminal = start("-s", server.address, rows=60)
    terminal.shows("Tab completes")
    return terminal


def test_from_a_definition_to_a_final_state(repl: Terminal) -> None:
    repl.shows("help leads you on")
    repl.send('put light 1 {"states": ["off", "on"], "initial": "off", "transitions": [' + ENTER)
    repl.send('{"from": "off", "event": "SWITCH", "to": "on"}]}' + ENTER)
    assert "created          true" in repl.shows("created ")
    repl.send("create light 1 hall" + ENTER).shows("wal_offset")
    repl.send("apply hall SWITCH" + ENTER).shows("applied     true")
    repl.send("get hall" + ENTER).shows("state            on")
    repl.send("machine light" + ENTER).shows("on (final)")
    repl.send("--json list light" + ENTER).shows('"total": 1')
    repl.send("quit" + ENTER)
    assert repl.ends() == 0


def test_names_and_allowed_events_are_offered_and_taken(repl: Terminal) -> None:
    repl.send("appl").shows("apply-event")
    repl.send("y ").shows("order: created")
    repl.send(TAB).shows("> apply o-1")
    repl.send(" ").shows("created → paid if ctx.amount > 0")
    repl.send(TAB + ENTER).shows("> apply o-1 PAY")
    repl.send(ENTER).shows("applied     true")
    repl.send("apply o-1 ").shows("paid → shipped")


def test_wrong_json_is_told_while_it_is_typed_and_not_sent(repl: Terminal, wire: Wire) -> None:
    repl.send('apply o-1 PAY {"a" 1').shows("JSON: Expecting ':' delimiter")
    repl.send("}" + ENTER).shows("JSON: Expecting ':' delimiter")
    repl.send(CTRL_C + "get o-1" + ENTER).shows("state            created")
    assert wire.call("GET_INSTANCE", instance_id="o-1")["state"] == "created"


def test_the_toolbar_explains_the_command(repl: Terminal) -> None:
    repl.shows("Tab completes")
    repl.send("create ").shows("create MACHINE VERSION [ID] [CTX] Create an instance of a machine.")


def test_errors_do_not_end_it(repl: Terminal) -> None:
    for line, message in (
        ("nonsense", "no command 'nonsense'; help shows all"),
        ("aply o-1 PAY", "did you mean apply"),
        ("get none", "INSTANCE_NOT_FOUND"),
        ("apply o-1 SHIP", "it takes 'PAY'"),
        ("apply o-1", "Missing option '-e' / '--event'"),
        ("create order 1 o-1", "INSTANCE_EXISTS"),
        ("get 'a b' c", "unexpected extra argument"),
        ("-s other:1 ping", "-s does not go here"),
        ("repl", "no command 'repl'"),
        ("help nonsense", "no command 'nonsense'"),
        ("get -h", "Usage: get-instance"),
        ("output nonsense", "'nonsense' is not one of table"),
    ):
        repl.send(line + ENTER).shows(message)
        assert "Traceback" not in repl.text()
    repl.send("ping" + ENTER).shows("pong  true")


def test_ctrl_c_cancels_a_line_and_a_watch_and_ctrl_d_leaves(repl: Terminal, wire: Wire) -> None:
    repl.send("get nothing" + CTRL_C)
    repl.send("watch" + ENTER).shows("Ctrl-C ends")
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    repl.shows('"to_state": "paid"')
    repl.send(CTRL_C).shows("stopped watching")
    repl.send("ping" + ENTER).shows("pong  true")
    assert "INSTANCE_NOT_FOUND" not in repl.text()
    repl.send(CTRL_D)
    assert repl.ends() == 0


def test_ctrl_c_ends_a_command_that_waits(
    start: Callable[..., Terminal], fake: Callable[..., Any]
) -> None:
    silent = fake(
        lambda request: {"status": "ok", "result": {}} if request["op"] != "PING" else None
    )
    repl = start("-s", silent.address)
    repl.shows("help leads")
    repl.send("ping" + ENTER)
    while silent.seen.get()["op"] != "PING":
        pass
    repl.send(CTRL_C).shows("^C")
    repl.send("output" + ENTER).shows("results are shown as table")
    repl.send(CTRL_D)
    assert repl.ends() == 0


def test_help_teaches(repl: Terminal) -> None:
    repl.send("help" + ENTER)
    shown = repl.shows("help COMMAND tells more")
    for part in (
        "First steps",
        "put light 1 {",
        "apply hall SWITCH",
        "Short commands",
        "wal-stats",
    ):
        assert part in shown
    repl.send("help apply" + ENTER)
    shown = repl.shows("Examples:")
    assert "apply ID EVENT [PAYLOAD]" in shown
    assert "--expected-state" in shown


def test_history_is_kept_but_no_tokens(
    repl: Terminal, start: Callable[..., Terminal], server: ServerProcess, tmp_path: Path
) -> None:
    repl.send("get o-1" + ENTER).shows("last_wal_offset")
    repl.send("hash-token secret" + ENTER).shows("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6")
    repl.send("-t secret ping" + ENTER).shows("-t does not go here")
    repl.send("quit" + ENTER)
    assert repl.ends() == 0
    history = tmp_path / ".rstmdb_history"
    assert "get o-1" in history.read_text()
    assert "secret" not in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    again = start("-s", server.address)
    again.shows("Tab completes")
    again.send(UP).shows("quit")
    again.send(UP).shows("get o-1")


def test_it_reconnects_by_itself(tmp_path: Path, start: Callable[..., Terminal]) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with ServerProcess(folder) as server:
        repl = start("-s", server.address)
        repl.shows("help leads")
        repl.send('put-machine -n m -v 1 \'{"states": ["a"], "initial": "a", "transitions": []}\'')
        repl.send(ENTER).shows("created          true")
        server.kill()
        repl.send("machines" + ENTER).shows("can't connect")
        server.start()
        repl.send("machines" + ENTER).shows("│ m ")
        server.kill()
        server.start()
        repl.send("create m 1 x" + ENTER).shows("state        a")
        repl.send("reconnect" + ENTER)
        repl.send("quit" + ENTER)
        assert repl.ends() == 0


def test_without_a_server_it_says_so_and_goes_on(start: Callable[..., Terminal]) -> None:
    repl = start("-s", "127.0.0.1:1", "repl")
    repl.shows("not connected: can't connect to 127.0.0.1:1")
    repl.send("output json" + ENTER).shows("results are shown as json")
    repl.send("ping" + ENTER).shows("RSTMDB_SERVER")
    repl.send("quit" + ENTER)
    assert repl.ends() == 0


def test_typing_never_waits_for_the_server(
    start: Callable[..., Terminal], fake: Callable[..., Any]
) -> None:
    silent = fake(lambda _: None)
    repl = start("-s", silent.address)
    repl.shows("Tab completes")
    repl.send("get ").shows("> get")
    repl.send("abc").shows("> get abc")
    repl.send(CTRL_C + "output" + ENTER).shows("results are shown as table")


def test_colours_and_no_color(
    server: ServerProcess, wire: Wire, start: Callable[..., Terminal]
) -> None:
    coloured = start("-s", server.address)
    coloured.shows("Tab completes")
    coloured.send("get o-1" + ENTER).shows("last_wal_offset")
    assert b"\x1b[0;32;1mget" in coloured.raw or b"32" in coloured.raw
    plain = start("-s", server.address, NO_COLOR="1")
    plain.shows("Tab completes")
    plain.send("get o-1" + ENTER).shows("last_wal_offset")
    for colour in range(30, 38):
        assert f"\x1b[{colour}m".encode() not in plain.raw
        assert f";{colour}".encode() not in plain.raw
    assert b"38;5;" not in plain.raw


# -- without a terminal ----------------------------------------------------------------------------


def test_lines_of_standard_input_are_run_and_the_last_failure_is_the_code(
    cli: Run, wire: Wire
) -> None:
    script = (
        "# a comment\n\n"
        "get o-1\n"
        "get none\n"
        'apply o-1 PAY {"by":\n  "card"}\n'
        "rstmdb-cli -o ndjson get-instance o-1\n"
        "output json\n"
        "nonsense\n"
        "ping"
    )
    for arguments in ((), ("repl",)):
        result = cli(*arguments, input=script)
        assert result.exit_code == 2
        assert '"pong": true' in result.stdout
        assert "state            created" in result.stdout or arguments
        assert '"by": "card"' in result.stdout
        assert "INSTANCE_NOT_FOUND" in result.stderr
        assert "no command 'nonsense'" in result.stderr
    assert cli(input="ping\n").exit_code == 0
    assert cli(input="quit\nnonsense\n").exit_code == 0
    assert cli(input="").exit_code == 0


def test_a_script_that_is_not_utf8(cli: Run) -> None:
    result = cli(input=b"\xff\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "standard input is not UTF-8" in result.stderr
