"""batch: what a file does, how a break is mended, and what is told of each line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rstmdb_cli.importing import IN_BATCH, KEYED, Line, lines, outcomes
from rstmdb_client import SyncClient
from rstmdb_protocol import OPERATIONS
from rstmdb_server.testing import ServerProcess
from wire import Wire

Run = Callable[..., Result]

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}


def text_of(*ops: tuple[str, dict[str, Any]]) -> str:
    return "".join(json.dumps({"op": op, "params": params}) + "\n" for op, params in ops)


GOOD = text_of(
    ("CREATE_INSTANCE", {"instance_id": "b-1", "machine": "order", "version": 1}),
    ("DELETE_INSTANCE", {"instance_id": "o-1"}),
)
MIXED = text_of(
    ("APPLY_EVENT", {"instance_id": "o-1", "event": "PAY"}),
    ("APPLY_EVENT", {"instance_id": "none", "event": "PAY"}),
)


def test_its_tables_of_operations_are_those_of_the_protocol() -> None:
    assert {name for name, op in OPERATIONS.items() if op.in_batch} == IN_BATCH
    assert {name for name, op in OPERATIONS.items() if op.keyed} == KEYED


def test_a_file_and_standard_input(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "ops"
    file.write_text(GOOD + "\n")
    done = cli("--json", "batch", str(file))
    assert (done.exit_code, done.stderr) == (0, "")
    results = json.loads(done.stdout)["results"]
    assert [set(item) for item in results] == [{"status", "result", "error"}] * 2
    assert results[0]["result"]["instance_id"] == "b-1"
    again = text_of(("DELETE_INSTANCE", {"instance_id": "b-1"}))
    shown = cli("batch", "-", "--atomic", input=again)
    heading, row = shown.stdout.splitlines()
    assert heading.split() == ["LINE", "STATUS", "OP", "INSTANCE", "RESULT"]
    assert row.split(None, 4) == ["1", "ok", "DELETE_INSTANCE", "b-1", "deleted: true"]


def test_a_line_that_fails_is_named_and_the_others_stand(cli: Run, wire: Wire) -> None:
    result = cli("batch", "-", input="\n" + MIXED)
    assert result.exit_code == 1
    _, paid, failed = result.stdout.splitlines()
    assert paid.split(None, 4) == ["2", "ok", "APPLY_EVENT", "o-1", "created → paid"]
    assert failed.split()[:5] == ["3", "error", "APPLY_EVENT", "none", "INSTANCE_NOT_FOUND:"]
    assert result.stderr == "2 lines: 1 done, 1 failed\n"
    assert wire.call("GET_INSTANCE", instance_id="o-1")["state"] == "paid"


@pytest.mark.parametrize("output", ["json", "ndjson", "yaml"])
def test_failed_lines_in_other_formats(cli: Run, output: str) -> None:
    result = cli("-o", output, "batch", "-", input=MIXED)
    assert result.exit_code == 1
    assert result.stdout.count("INSTANCE_NOT_FOUND") == 1
    if output == "ndjson":
        items = [json.loads(line) for line in result.stdout.splitlines()]
        assert [item["status"] for item in items] == ["ok", "error"]
    assert "1 failed" in result.stderr


def test_an_atomic_batch_that_fails_changes_nothing_and_exits_as_its_line(
    cli: Run, wire: Wire
) -> None:
    result = cli("batch", "-", "--atomic", input="\n" + MIXED)
    assert (result.exit_code, result.stdout) == (5, "")
    assert "line 3 is refused" in result.stderr
    assert "INSTANCE_NOT_FOUND" in result.stderr
    assert wire.call("GET_INSTANCE", instance_id="o-1")["state"] == "created"


def test_an_atomic_batch_can_not_be_larger_than_the_server_allows(cli: Run, wire: Wire) -> None:
    most = wire.call("INFO")["max_batch_ops"]
    op = text_of(("GET_INSTANCE", {"instance_id": "o-1"}))
    result = cli("batch", "-", "--atomic", input=op * (most + 1))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{most + 1} operations; the server takes {most}" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "line 3 is not valid JSON"),
        ("[1]", "line 3 is no operation"),
        ('{"params": {}}', "line 3 is no operation"),
        ('{"op": "PING"}', "line 3 has the op 'PING', which can't be in a batch"),
        ('{"op": "GET_INSTANCE", "params": []}', "line 3 has params that are no JSON object"),
        ('{"op": "\x1b[31m"}', "line 3"),
    ],
)
def test_nothing_is_sent_when_a_line_makes_no_sense(
    cli: Run, wire: Wire, line: str, message: str
) -> None:
    result = cli("batch", "-", input=MIXED + line + "\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "\x1b" not in result.stderr
    assert wire.call("GET_INSTANCE", instance_id="o-1")["state"] == "created"


def test_files_that_can_not_be_read(cli: Run, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\n")
    assert "line 1 is not UTF-8" in cli("batch", str(binary)).stderr
    missing = cli("batch", str(tmp_path / "none"))
    assert (missing.exit_code, missing.stdout) == (2, "")


def test_an_empty_file_does_nothing(cli: Run) -> None:
    result = cli("batch", "-", input="\n\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 lines: 0 done, 0 failed\n"


# -- many lines, and again -------------------------------------------------------------------------


@pytest.fixture
def import_file(wire: Wire, tmp_path: Path) -> Path:
    """250 lines, more than two batches: an instance, then 249 times the same event."""
    wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
    file = tmp_path / "import.jsonl"
    create = ("CREATE_INSTANCE", {"instance_id": "r", "machine": "ring", "version": 1})
    file.write_text(text_of(create, *[("APPLY_EVENT", {"instance_id": "r", "event": "T"})] * 249))
    return file


def applied(wire: Wire) -> int:
    """How many entries are about the instance `r` since the database was emptied."""
    found = 0
    position = 0
    while records := (page := wire.call("WAL_READ", from_offset=position, limit=1000))["records"]:
        for entry in (record["entry"] for record in records):
            found = 0 if entry["type"] == "flush_all" else found + (entry.get("instance_id") == "r")
        position = page["next_offset"]
    return found


def test_many_lines_go_in_batches_and_the_same_line_twice_counts_twice(
    cli: Run, wire: Wire, import_file: Path
) -> None:
    result = cli("batch", str(import_file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "250 lines: 250 done, 0 failed\n"
    assert applied(wire) == 250


def test_again_nothing_is_done_twice_and_that_is_told(
    cli: Run, wire: Wire, import_file: Path, tmp_path: Path
) -> None:
    cli("batch", str(import_file))
    link = tmp_path / "link"
    link.symlink_to(import_file)
    again = cli("batch", str(link))
    assert again.stderr.startswith("250 lines: 0 done, 0 failed, 250 had been done by an earlier")
    assert "--import-id" in again.stderr
    assert applied(wire) == 250
    anew = cli("batch", str(import_file), "--import-id", "second", "--from-line", "2")
    assert anew.stderr == "249 lines: 249 done, 0 failed\n"
    assert applied(wire) == 499


def test_a_mended_file_does_only_what_is_new(cli: Run, wire: Wire, import_file: Path) -> None:
    text = import_file.read_text()
    wrong = text_of(("APPLY_EVENT", {"instance_id": "r", "event": "NO"}))
    import_file.write_text(text + wrong)
    first = cli("batch", str(import_file))
    assert first.exit_code == 1
    assert first.stdout.splitlines()[1].startswith("251   error   APPLY_EVENT  r         INVALID")
    right = text_of(("APPLY_EVENT", {"instance_id": "r", "event": "T", "payload": {"new": 1}}))
    import_file.write_text(right + text)
    second = cli("batch", str(import_file))
    assert second.stderr.startswith("251 lines: 1 done, 0 failed, 250 had been done")
    assert applied(wire) == 251


def test_a_key_of_ones_own_stays(tmp_path: Path) -> None:
    ops = text_of(
        ("DELETE_INSTANCE", {"instance_id": "r", "idempotency_key": "mine"}),
        ("DELETE_INSTANCE", {"instance_id": "r", "idempotency_key": None}),
        ("GET_INSTANCE", {"instance_id": "r"}),
    )
    own, derived, none = lines(ops.encode().splitlines(keepends=True), "name")
    assert own.params["idempotency_key"] == "mine"
    assert derived.params["idempotency_key"].startswith("import-")
    assert "idempotency_key" not in none.params


def test_a_server_that_is_killed_in_the_middle_and_the_same_command_again(
    tmp_path: Path,
) -> None:
    """Kill the server while lines are acknowledged; start it, run again; each line counts once."""
    with ServerProcess(tmp_path, {"RSTMDB_COMPACT_ENABLED": "false"}) as server:
        file = tmp_path / "import.jsonl"
        ops: list[tuple[str, dict[str, Any]]] = [
            ("PUT_MACHINE", {"machine": "ring", "version": 1, "definition": RING}),
            ("CREATE_INSTANCE", {"instance_id": "r", "machine": "ring", "version": 1}),
        ]
        ops += [("APPLY_EVENT", {"instance_id": "r", "event": "T", "payload": {"n": n % 7}})
                for n in range(20_000)]  # fmt: skip
        file.write_text(text_of(*ops))
        command = [sys.executable, "-m", "rstmdb_cli", "--url"]
        command += [f"rstmdb://{server.address}?retry_timeout=0", "-o", "ndjson", "batch"]
        process = subprocess.Popen(
            [*command, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(2000):
            assert process.stdout.readline()
        server.kill()
        _, stderr = process.communicate()
        assert process.returncode == 3
        assert "broken off behind line " in stderr
        assert "Traceback" not in stderr
        server.start()
        done = subprocess.run([*command, str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with Wire(server.host, server.port) as wire:
            assert applied(wire) == 20_001


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """Ten kills at random moments of an import; run until it is through, each line counts once."""
    rng = random.Random(6)
    scale = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
    for turn in range(scale):
        folder = tmp_path / str(turn)
        folder.mkdir()
        file = folder / "import.jsonl"
        create = ("CREATE_INSTANCE", {"instance_id": "r", "machine": "ring", "version": 1})
        event = ("APPLY_EVENT", {"instance_id": "r", "event": "T"})
        file.write_text(text_of(create, *[event] * 20_000))
        with ServerProcess(folder, {"RSTMDB_COMPACT_ENABLED": "false"}) as server:
            with Wire(server.host, server.port) as wire:
                wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
            command = [sys.executable, "-m", "rstmdb_cli", "--url"]
            command += [f"rstmdb://{server.address}?retry_timeout=0", "-o", "ndjson", "batch"]
            for _ in range(10):
                process = subprocess.Popen(
                    [*command, str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                assert process.stdout is not None
                for _ in range(rng.randrange(8000)):
                    process.stdout.readline()
                server.kill()
                process.communicate()
                server.start()
            subprocess.run([*command, str(file)], check=True, capture_output=True)
            with Wire(server.host, server.port) as wire:
                assert applied(wire) == 20_001


def test_ctrl_c_tells_how_far_it_came(fake: Callable[..., Any], tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any] | None:
        if request["op"] == "INFO":
            info = {"server_name": "fake", "server_version": "0", "protocol_version": 1}
            more = {"features": [], "max_frame_bytes": 1 << 24, "max_batch_ops": 1}
            return {"status": "ok", "result": info | more | {"wal_offset": 1}}
        ids = [op["params"]["instance_id"] for op in request["params"]["ops"]]
        if ids == ["second"]:
            return None
        item = {"status": "ok", "result": {"deleted": True}, "error": None}
        return {"status": "ok", "result": {"results": [item]}}

    listening = fake(answer)
    file = tmp_path / "ops"
    ids = ({"instance_id": "first"}, {"instance_id": "second"})
    file.write_text(text_of(*(("DELETE_INSTANCE", params) for params in ids)))
    process = subprocess.Popen(
        [sys.executable, "-m", "rstmdb_cli", "-s", listening.address, "batch", str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "second" not in json.dumps(listening.seen.get()):
        pass
    process.send_signal(2)
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stdout.splitlines()[1].split()[:4] == ["1", "ok", "DELETE_INSTANCE", "first"]
    assert stderr.startswith("broken off behind line 1, 0 of 1 failed; the same command goes on")


def test_a_batch_that_is_refused_as_a_whole_is_sent_in_halves(
    fake: Callable[..., Any],
) -> None:
    refusal = {"code": "BAD_REQUEST", "message": "too large", "retryable": False}

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        ids = [op["params"]["instance_id"] for op in request["params"]["ops"]]
        if len(ids) > 2 or "bad" in ids:
            return {"status": "error", "error": refusal}
        items = [{"status": "ok", "result": {"id": name}, "error": None} for name in ids]
        return {"status": "ok", "result": {"results": items}}

    listening = fake(answer)
    ids = ("a", "b", "bad", "c", "d")
    wanted = [Line(n, "GET_INSTANCE", {"instance_id": i}, 1) for n, i in enumerate(ids)]
    with SyncClient.from_url(f"rstmdb://{listening.address}") as client:
        found = list(outcomes(client, wanted, 100, 0))
    assert [outcome.line.number for outcome in found] == [0, 1, 2, 3, 4]
    assert [outcome.failed for outcome in found] == [False, False, True, False, False]
    assert found[2].item["error"]["code"] == "BAD_REQUEST"
