"""watch-all and watch-instance: events on standard output at once, notes on standard error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from click.testing import Result

from rstmdb_server.testing import ServerProcess
from wire import Wire

Run = Callable[..., Result]
Spawn = Callable[..., "subprocess.Popen[str]"]
Process = subprocess.Popen[str]


def watching(spawn: Spawn, *arguments: str) -> Process:
    """A watch that has begun; its pipe is buffered, whatever the tests' own are."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = spawn(*arguments, env=env)
    assert process.stderr is not None
    note = process.stderr.readline()
    assert note.startswith("watching"), note
    return process


def next_event(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    event: dict[str, Any] = json.loads(process.stdout.readline())
    return event


def interrupted(process: Process) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    return process.returncode, stdout, stderr


def test_watch_all_prints_events_at_once_until_ctrl_c(
    server: ServerProcess, wire: Wire, spawn: Spawn
) -> None:
    wire.call("WATCH_ALL")
    process = watching(spawn, "-s", server.address, "watch-all")
    for event, given in (("PAY", {"payload": {"by": "card"}}), ("SHIP", {})):
        wire.call("APPLY_EVENT", instance_id="o-1", event=event, **given)
        expected = wire.event()
        shown = next_event(process)
        assert shown.pop("subscription_id")
        del expected["subscription_id"]
        assert shown == expected
    assert interrupted(process) == (0, "", "stopped watching\n")


def test_a_second_ctrl_c_does_not_spoil_the_exit_code(server: ServerProcess, spawn: Spawn) -> None:
    for _ in range(5):
        process = watching(spawn, "-s", server.address, "watch-all")
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.returncode == 0


def test_watch_all_with_filters(server: ServerProcess, wire: Wire, spawn: Spawn) -> None:
    definition = wire.call("GET_MACHINE", machine="order")["definition"]
    wire.call("PUT_MACHINE", machine="other", version=1, definition=definition)
    made = wire.call(
        "CREATE_INSTANCE", instance_id="x", machine="other", version=1, initial_ctx={"amount": 1}
    )
    for instance, name in (("o-1", "PAY"), ("x", "PAY"), ("x", "SHIP"), ("o-1", "SHIP")):
        wire.call("APPLY_EVENT", instance_id=instance, event=name)
    offset = str(made["wal_offset"])
    for filters, expected in (
        ((), ["o-1 PAY", "x PAY", "x SHIP", "o-1 SHIP"]),
        (("--machines", "other"), ["x PAY", "x SHIP"]),
        (("--machines", "none, other", "--events", "SHIP,"), ["x SHIP"]),
        (("--from-states", "paid,shipped"), ["x SHIP", "o-1 SHIP"]),
        (("--to-states", "paid"), ["o-1 PAY", "x PAY"]),
        (("--events", "PAY"), ["o-1 PAY", "x PAY"]),
    ):
        process = watching(
            spawn, "-s", server.address, "watch-all", "--from-offset", offset, *filters
        )
        events = [next_event(process) for _ in expected]
        assert ["{instance_id} {event}".format(**event) for event in events] == expected
        assert interrupted(process)[:2] == (0, "")


def test_without_contexts(server: ServerProcess, wire: Wire, spawn: Spawn) -> None:
    start = str(wire.call("GET_INSTANCE", instance_id="o-1")["last_wal_offset"])
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    for command in (("watch-all",), ("watch-instance", "o-1")):
        from_there = ("-s", server.address, *command, "--from-offset", start)
        with_ctx, without = watching(spawn, *from_there), watching(spawn, *from_there, "--no-ctx")
        event = next_event(with_ctx)
        assert event.pop("ctx") == {"amount": 10}
        shown = next_event(without)
        del event["subscription_id"], shown["subscription_id"]
        assert shown == event


def test_watch_instance_shows_that_instance_alone(
    server: ServerProcess, wire: Wire, spawn: Spawn
) -> None:
    wire.call(
        "CREATE_INSTANCE", instance_id="o-2", machine="order", version=1, initial_ctx={"amount": 1}
    )
    process = watching(spawn, "-s", server.address, "watch-instance", "o-2")
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    wire.call("APPLY_EVENT", instance_id="o-2", event="PAY")
    assert next_event(process)["instance_id"] == "o-2"
    assert interrupted(process) == (0, "", "stopped watching\n")


def test_a_watch_ends_with_its_instance(server: ServerProcess, wire: Wire, spawn: Spawn) -> None:
    process = watching(spawn, "-s", server.address, "watch-instance", "o-1")
    wire.call("DELETE_INSTANCE", instance_id="o-1")
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (5, "")
    assert stderr.startswith("rstmdb-cli: the watch has ended: ")


def test_a_watch_that_can_not_begin(cli: Run, invoke: Run, fake: Callable[..., Any]) -> None:
    missing = cli("watch-instance", "none")
    assert (missing.exit_code, missing.stdout) == (5, "")
    assert "INSTANCE_NOT_FOUND" in missing.stderr
    unreachable = invoke("-s", "127.0.0.1:1", "watch-all")
    assert (unreachable.exit_code, unreachable.stdout) == (3, "")
    assert invoke("watch-all", "--machines", " , ").exit_code == 2
    details = {"earliest_offset": 77}
    error = {"code": "NOT_FOUND", "message": "gone", "retryable": False, "details": details}
    compacted = fake(lambda _: {"status": "error", "error": error})
    result = invoke("-s", compacted.address, "watch-all", "--from-offset", "5")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "--from-offset 77" in result.stderr


def test_control_characters_in_events_are_escaped(
    server: ServerProcess, wire: Wire, spawn: Spawn
) -> None:
    process = watching(spawn, "-s", server.address, "watch-all")
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY", payload={"v": "\x1b[31m\x9b\u202e"})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["payload"] == {"v": "\x1b[31m\x9b\u202e"}
