"""Every command: its text, its json, what it refuses and its exit code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from rstmdb_server.testing import ServerProcess
from wire import Wire

Run = Callable[..., Result]

ONE_STATE = '{"states": ["a"], "initial": "a", "transitions": []}'


def fields(text: str) -> dict[str, str]:
    """The lines of a text output, name and value."""
    return {name: value.strip() for name, value in (s.split(None, 1) for s in text.splitlines())}


def result_of(cli: Run, *arguments: str, **options: Any) -> dict[str, Any]:
    result = cli("--json", *arguments, **options)
    assert (result.exit_code, result.stderr) == (0, "")
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_ping(cli: Run) -> None:
    assert cli("ping").stdout == "pong  true\n"
    assert result_of(cli, "ping") == {"pong": True}


def test_info(cli: Run, wire: Wire) -> None:
    assert fields(cli("info").stdout)["server_name"] == "rstmdb"
    assert set(result_of(cli, "info")) == set(wire.call("INFO"))


def test_put_machine_takes_an_argument_a_file_or_standard_input(
    cli: Run, wire: Wire, tmp_path: Path
) -> None:
    file = tmp_path / "machine.json"
    file.write_text(ONE_STATE)
    given = {"1": (ONE_STATE, None), "2": (f"@{file}", None), "3": ("-", ONE_STATE)}
    for version, (argument, stdin) in given.items():
        command = ("put-machine", "-n", "one", "-v", version, argument)
        created = result_of(cli, *command, input=stdin)
        assert created == {
            "machine": "one",
            "version": int(version),
            "stored_checksum": wire.call("GET_MACHINE", machine="one")["checksum"],
            "created": True,
        }
        assert fields(cli(*command, input=stdin).stdout)["created"] == "false"


def test_another_definition_for_a_version_is_refused(cli: Run) -> None:
    result = cli("put-machine", "-n", "order", "-v", "1", ONE_STATE)
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith("rstmdb-cli: MACHINE_VERSION_EXISTS: ")


def test_more_versions_than_the_server_allows_are_refused(cli: Run) -> None:
    for version in ("2", "3"):
        assert cli("put-machine", "-n", "order", "-v", version, ONE_STATE).exit_code == 0
    result = cli("put-machine", "-n", "order", "-v", "4", ONE_STATE)
    assert result.exit_code == 5
    assert "MACHINE_VERSION_LIMIT_EXCEEDED" in result.stderr


@pytest.mark.parametrize("version", ["0", "4294967296", "x"])
def test_a_version_out_of_range_is_wrong_usage(cli: Run, version: str) -> None:
    for command in (
        ("put-machine", "-n", "one", "-v", version, ONE_STATE),
        ("get-machine", "order", version),
        ("get-machine", "-n", "order", "-v", version),
        ("create-instance", "-m", "order", "-V", version),
    ):
        result = cli(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert version in result.stderr


def test_a_definition_that_makes_no_sense_is_a_server_error(cli: Run) -> None:
    result = cli("put-machine", "-n", "bad", "-v", "1", '{"states": []}')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("rstmdb-cli: BAD_REQUEST: ")


def test_get_machine_by_arguments_or_by_options(cli: Run, wire: Wire) -> None:
    wire.call("PUT_MACHINE", machine="order", version=2, definition=json.loads(ONE_STATE))
    first = wire.call("GET_MACHINE", machine="order", version=1)
    newest = wire.call("GET_MACHINE", machine="order")
    assert newest["version"] == 2
    assert result_of(cli, "get-machine", "order") == newest
    assert result_of(cli, "get-machine", "-n", "order") == newest
    assert result_of(cli, "get-machine", "order", "1") == first
    assert result_of(cli, "get-machine", "-n", "order", "-v", "1") == first
    assert result_of(cli, "get-machine", "order", "-v", "1") == first
    text = fields(cli("get-machine", "order", "1").stdout)
    assert json.loads(text["definition"]) == first["definition"]
    assert text["checksum"] == first["checksum"]


def test_a_machine_as_a_diagram(cli: Run) -> None:
    assert cli("get-machine", "order", "--diagram").stdout.splitlines() == [
        "stateDiagram-v2",
        '    state "created" as s0',
        '    state "paid" as s1',
        '    state "shipped" as s2',
        "    [*] --> s0",
        "    s0 --> s1 : PAY [ctx.amount #62; 0]",
        "    s1 --> s2 : SHIP",
    ]


def test_names_that_mean_something_to_mermaid_are_escaped(cli: Run) -> None:
    definition = {
        "states": ['a "b": c;', "-->"],
        "initial": "-->",
        "transitions": [{"from": ['a "b": c;', "-->"], "event": "#1", "to": "-->"}],
    }
    assert cli("put-machine", "-n", "odd", "-v", "1", json.dumps(definition)).exit_code == 0
    assert cli("get-machine", "odd", "--diagram").stdout.splitlines()[1:] == [
        '    state "a #34;b#34;#58; c#59;" as s0',
        '    state "--#62;" as s1',
        "    [*] --> s1",
        "    s0 --> s1 : #35;1",
        "    s1 --> s1 : #35;1",
    ]


def test_get_machine_wants_one_name_and_one_version(cli: Run) -> None:
    assert "name the machine" in cli("get-machine").stderr
    for twice in (("order", "-n", "other"), ("order", "1", "-v", "2")):
        result = cli("get-machine", *twice)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "twice" in result.stderr


def test_a_machine_that_is_not_there(cli: Run) -> None:
    result = cli("get-machine", "none")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith("rstmdb-cli: MACHINE_NOT_FOUND: ")


def test_list_machines(cli: Run, wire: Wire) -> None:
    wire.call("PUT_MACHINE", machine="a", version=7, definition=json.loads(ONE_STATE))
    assert cli("list-machines").stdout == "MACHINE  VERSIONS\na        [7]\norder    [1]\n"
    assert result_of(cli, "list-machines") == wire.call("LIST_MACHINES")
    assert result_of(cli, "list-machines", "--limit", "1", "--offset", "1") == {
        "items": [{"machine": "order", "versions": [1]}]
    }


def test_create_instance(cli: Run, wire: Wire) -> None:
    made = result_of(cli, "create-instance", "-m", "order", "-V", "1", "-i", "o-2", "-c", '{"k":1}')
    assert made == {"instance_id": "o-2", "state": "created", "wal_offset": made["wal_offset"]}
    assert wire.call("GET_INSTANCE", instance_id="o-2")["ctx"] == {"k": 1}
    named = fields(cli("create-instance", "--machine", "order", "--version", "1").stdout)
    assert len(named["instance_id"]) == 36


def test_create_instance_with_a_key_happens_once(cli: Run) -> None:
    command = ("create-instance", "-m", "order", "-V", "1", "--idempotency-key", "k")
    assert result_of(cli, *command) == result_of(cli, *command)


def test_an_instance_that_is_there_already(cli: Run) -> None:
    result = cli("create-instance", "-m", "order", "-V", "1", "-i", "o-1")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "INSTANCE_EXISTS" in result.stderr


def test_get_instance(cli: Run, wire: Wire) -> None:
    text = fields(cli("get-instance", "o-1").stdout)
    assert text["state"] == "created"
    assert text["ctx"] == '{"amount": 10}'
    assert result_of(cli, "get-instance", "o-1") == wire.call("GET_INSTANCE", instance_id="o-1")
    missing = cli("get-instance", "none")
    assert (missing.exit_code, missing.stdout) == (5, "")
    assert "INSTANCE_NOT_FOUND" in missing.stderr


def test_list_instances(cli: Run, wire: Wire) -> None:
    wire.call("CREATE_INSTANCE", instance_id="o-2", machine="order", version=1)
    assert result_of(cli, "list-instances") == wire.call("LIST_INSTANCES")
    page = result_of(cli, "list-instances", "--limit", "1", "--offset", "1")
    assert [item["id"] for item in page["instances"]] == ["o-2"]
    heading, first, second, rest = cli("list-instances").stdout.splitlines()
    assert heading.split()[:3] == ["ID", "MACHINE", "VERSION"]
    assert [first.split()[0], second.split()[0]] == ["o-1", "o-2"]
    assert rest == "total: 2, has_more: false"


def test_list_instances_by_machine_and_state(cli: Run, wire: Wire) -> None:
    wire.call("CREATE_INSTANCE", instance_id="o-2", machine="order", version=1)
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    paid = result_of(cli, "list-instances", "--machine", "order", "--state", "paid")
    assert [item["id"] for item in paid["instances"]] == ["o-1"]
    none = result_of(cli, "list-instances", "--machine", "other")
    assert none["instances"] == []
    assert cli("list-instances", "--machine", "other").stdout.startswith("ID  MACHINE")


def test_apply_event(cli: Run, wire: Wire) -> None:
    command = ("apply-event", "-i", "o-1", "-e", "PAY", "-p", '{"by":"card"}', "--event-id", "e-1")
    done = result_of(cli, *command, "--idempotency-key", "k")
    assert done == {
        "from_state": "created",
        "to_state": "paid",
        "ctx": {"amount": 10, "by": "card"},
        "wal_offset": done["wal_offset"],
        "applied": True,
        "event_id": "e-1",
    }
    assert result_of(cli, *command, "--idempotency-key", "k")["wal_offset"] == done["wal_offset"]
    text = fields(cli("apply-event", "-i", "o-1", "-e", "SHIP").stdout)
    assert (text["from_state"], text["to_state"]) == ("paid", "shipped")


def test_apply_event_under_conditions(cli: Run, wire: Wire) -> None:
    at = wire.call("GET_INSTANCE", instance_id="o-1")["last_wal_offset"]
    pay = ("apply-event", "-i", "o-1", "-e", "PAY")
    for wrong in (("--expected-state", "paid"), ("--expected-offset", str(at + 1))):
        result = cli(*pay, *wrong)
        assert (result.exit_code, result.stdout) == (5, "")
        assert result.stderr.startswith("rstmdb-cli: CONFLICT: ")
    right = ("--expected-state", "created", "--expected-offset", str(at))
    assert result_of(cli, *pay, *right)["to_state"] == "paid"


def test_a_transition_that_is_not_there_and_a_guard_that_fails(cli: Run, wire: Wire) -> None:
    ship = cli("apply-event", "-i", "o-1", "-e", "SHIP")
    assert (ship.exit_code, ship.stdout) == (5, "")
    assert ship.stderr.startswith("rstmdb-cli: INVALID_TRANSITION: ")
    wire.call("CREATE_INSTANCE", instance_id="poor", machine="order", version=1)
    pay = cli("apply-event", "-i", "poor", "-e", "PAY")
    assert (pay.exit_code, pay.stdout) == (5, "")
    assert pay.stderr.startswith("rstmdb-cli: GUARD_FAILED: ")


def test_verbose_shows_the_details_of_an_error(cli: Run) -> None:
    ship = ("apply-event", "-i", "o-1", "-e", "SHIP")
    assert '"allowed_events"' not in cli(*ship).stderr
    message, _, details = cli("-v", *ship).stderr.partition("\n")
    assert "INVALID_TRANSITION" in message
    assert json.loads(details)["allowed_events"] == ["PAY"]


def test_delete_instance(cli: Run) -> None:
    deleted = result_of(cli, "delete-instance", "o-1", "--idempotency-key", "k")
    assert deleted == {
        "instance_id": "o-1",
        "deleted": True,
        "wal_offset": deleted["wal_offset"],
    }
    assert fields(cli("delete-instance", "o-1").stdout)["deleted"] == "true"
    missing = cli("delete-instance", "none")
    assert (missing.exit_code, missing.stdout) == (5, "")


def test_snapshot_instance(cli: Run) -> None:
    made = result_of(cli, "snapshot-instance", "o-1")
    assert set(made) == {"instance_id", "snapshot_id", "wal_offset", "size_bytes", "checksum"}
    assert fields(cli("snapshot-instance", "o-1").stdout)["instance_id"] == "o-1"
    assert cli("snapshot-instance", "none").exit_code == 5


def test_wal_read(cli: Run, wire: Wire) -> None:
    at = wire.call("GET_INSTANCE", instance_id="o-1")["last_wal_offset"]
    expected = wire.call("WAL_READ", from_offset=at, limit=1)
    for option in ("-f", "--from", "--from-offset"):
        assert result_of(cli, "wal-read", option, str(at), "-l", "1") == expected
    assert len(result_of(cli, "wal-read", "--limit", "1")["records"]) == 1
    heading, record, rest = cli("wal-read", "-f", str(at)).stdout.splitlines()
    assert heading.split() == ["SEQUENCE", "OFFSET", "ENTRY"]
    assert '"type": "create_instance"' in record
    assert rest.startswith("next_offset: ")


def test_wal_stats(cli: Run) -> None:
    stats = result_of(cli, "wal-stats")
    assert set(stats) >= {"entry_count", "segment_count", "latest_offset", "io_stats"}
    assert int(fields(cli("wal-stats").stdout)["entry_count"]) == stats["entry_count"]


def test_compact(cli: Run, wire: Wire) -> None:
    done = result_of(cli, "compact", "--force")
    assert set(done) == {
        "snapshots_created",
        "segments_deleted",
        "bytes_reclaimed",
        "total_snapshots",
        "wal_segments",
    }
    assert done["snapshots_created"] == 1
    assert fields(cli("compact", "-f").stdout)["snapshots_created"] == "1"
    assert cli("compact").exit_code == 0


def test_backup(cli: Run, server: ServerProcess) -> None:
    made = result_of(cli, "backup", "monday")
    assert (made["name"], set(made)) == ("monday", {"name", "wal_offset", "files", "bytes"})
    assert (server.folder / "backups" / "monday").is_dir()
    name = fields(cli("backup").stdout)["name"]
    assert (server.folder / "backups" / name).is_dir()
    outside = cli("backup", "../up")
    assert (outside.exit_code, outside.stdout) == (1, "")
    assert "BAD_REQUEST" in outside.stderr


def test_hash_token_needs_no_server(invoke: Run) -> None:
    result = invoke("-s", "127.0.0.1:1", "hash-token", "abc")
    assert result.exit_code == 0
    assert result.stdout == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n")


@pytest.mark.parametrize("token", ["-_abc", "-h-", "--help-me", "-", "--yes", "-1"])
def test_hash_token_takes_what_looks_like_an_option(invoke: Run, token: str) -> None:
    expected = hashlib.sha256(token.encode()).hexdigest() + "\n"
    for arguments in ([token], ["--", token]):
        result = invoke("hash-token", *arguments)
        assert (result.exit_code, result.stdout) == (0, expected)


def test_hash_token_still_explains_itself(invoke: Run) -> None:
    assert "Print the hash of a token." in invoke("hash-token", "--help").stdout
    for arguments in ([], ["--"], ["a", "b"]):
        assert invoke("hash-token", *arguments).exit_code == 2


def test_flush_all_asks_and_names_the_server(cli: Run, server: ServerProcess, wire: Wire) -> None:
    refused = cli("flush-all", input="n\n")
    assert (refused.exit_code, refused.stdout) == (130, "")
    assert server.address in refused.stderr
    assert wire.call("LIST_INSTANCES")["total"] == 1
    done = cli("--json", "flush-all", input="y\n")
    assert json.loads(done.stdout) == {
        "flushed": True,
        "instances_removed": 1,
        "machines_removed": 1,
    }


def test_flush_all_without_an_answer_removes_nothing(cli: Run, wire: Wire) -> None:
    result = cli("flush-all", input="")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "--yes" in result.stderr
    assert wire.call("LIST_INSTANCES")["total"] == 1


def test_flush_all_with_yes_does_not_ask(cli: Run) -> None:
    result = cli("flush-all", "--yes")
    assert fields(result.stdout)["flushed"] == "true"
    assert (result.exit_code, result.stderr) == (0, "")


# -- JSON from the command line --------------------------------------------------------------------


def test_invalid_json_shows_the_place(cli: Run, tmp_path: Path) -> None:
    result = cli("apply-event", "-i", "o-1", "-e", "PAY", "-p", '{"a": 1,\n "b" 2}')
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 2, column 6" in result.stderr
    shown = result.stderr.splitlines()
    place = shown.index('   "b" 2}')
    assert shown[place + 1] == "  " + " " * 5 + "^"


@pytest.mark.parametrize("text", ["", "[1]", "null", "3", '{"a":NaN}', '{"a":1e999}', "{" * 5000])
def test_what_is_no_json_object_is_wrong_usage(cli: Run, text: str) -> None:
    result = cli("create-instance", "-m", "order", "-V", "1", "-c", text)
    assert (result.exit_code, result.stdout) == (2, "")


def test_text_that_utf8_can_not_hold_is_wrong_usage(cli: Run) -> None:
    for command in (
        ("get-instance", "\udcff"),
        ("create-instance", "-m", "order", "-V", "1", "-c", '{"a": "\\ud800"}'),
    ):
        result = cli(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "not UTF-8" in result.stderr


def test_a_file_that_can_not_be_read_is_named(cli: Run, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    for file in (tmp_path / "none", tmp_path, binary):
        result = cli("put-machine", "-n", "one", "-v", "1", f"@{file}")
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{file} can't be read" in result.stderr


# -- formats ---------------------------------------------------------------------------------------


def test_ndjson_is_a_line_an_item(cli: Run, wire: Wire) -> None:
    wire.call("CREATE_INSTANCE", instance_id="o-2", machine="order", version=1)
    listed = cli("-o", "ndjson", "list-instances").stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == ["o-1", "o-2"]
    assert cli("-o", "ndjson", "ping").stdout == '{"pong": true}\n'


def test_yaml_holds_the_result(cli: Run, wire: Wire) -> None:
    for command, op, params in (
        (("get-instance", "o-1"), "GET_INSTANCE", {"instance_id": "o-1"}),
        (("get-machine", "order"), "GET_MACHINE", {"machine": "order"}),
        (("list-instances",), "LIST_INSTANCES", {}),
    ):
        shown = cli("--output", "yaml", *command).stdout
        assert yaml.safe_load(shown) == wire.call(op, **params)


@pytest.mark.parametrize("output", ["table", "json", "ndjson", "yaml"])
def test_letters_of_any_script_stay_as_they_are(cli: Run, wire: Wire, output: str) -> None:
    wire.call("CREATE_INSTANCE", instance_id="Zoë-中", machine="order", version=1)
    assert "Zoë-中" in cli("-o", output, "list-instances").stdout


@pytest.mark.parametrize("output", ["table", "json", "ndjson", "yaml"])
def test_errors_go_to_standard_error_in_every_format(cli: Run, output: str) -> None:
    result = cli("-o", output, "get-instance", "none")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith("rstmdb-cli: INSTANCE_NOT_FOUND: ")
    assert result.stderr.count("\n") == 1


HOSTILE = "\x1b[31m\x07\x9b2J\u202e\r\nX\U000e0001"


@pytest.mark.parametrize("output", ["table", "json", "ndjson", "yaml"])
def test_control_characters_of_other_clients_do_not_reach_the_terminal(
    cli: Run, wire: Wire, output: str
) -> None:
    wire.call(
        "CREATE_INSTANCE",
        instance_id="bad",
        machine="order",
        version=1,
        initial_ctx={"amount": 1, HOSTILE: [HOSTILE]},
    )
    wire.call(
        "APPLY_EVENT", instance_id="bad", event="PAY", event_id="\u202eid", payload={"v": HOSTILE}
    )
    for command in (("get-instance", "bad"), ("wal-read",)):
        shown = cli("-o", output, *command)
        assert shown.exit_code == 0
        assert [c for c in shown.stdout if not c.isprintable() and c != "\n"] == []
    if output != "table":
        load = yaml.safe_load if output == "yaml" else json.loads
        read = load(cli("-o", output, "get-instance", "bad").stdout)
        assert read["ctx"] == {"amount": 1, HOSTILE: [HOSTILE], "v": HOSTILE}
        assert read["last_event_id"] == "\u202eid"


def test_control_characters_in_messages_do_not_reach_the_terminal(cli: Run) -> None:
    result = cli("get-instance", f"none{HOSTILE}")
    assert result.exit_code == 5
    assert [c for c in result.stderr if not c.isprintable() and c != "\n"] == []
