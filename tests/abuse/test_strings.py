"""Every string that a client can send, with what breaks lines, terminals, paths and C code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

EVIL = '\x1b]0;owned\x07\x1b[31m\r\nFAKE {"level":"error"}\u2028\u2029\x85\x00\u202e\ufeff'
NAMES = {
    "line breaks": "a\nb\r\nc\u2028d\u2029e\x85f",
    "escape codes": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "NUL": "a\x00b",
    "parent directories": "../../../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "a Windows path": "..\\..\\x",
    "percent": "%s%n%d%(x)s{0}{x!r}",
    "10 KB": "x" * 10_240,
    "1 MB": "y" * (1 << 20),
    "right to left": "\u202egnp.exe",
    "emoji": "😀" * 60,
}

DEFINITION: dict[str, Any] = {"states": ["x"], "initial": "x", "transitions": []}


def requests_with(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Every operation with the text in each of its strings, one at a time."""
    create = {"machine": "ring", "version": 1}
    apply = {"instance_id": "r", "event": "T"}
    transition = {"from": "x", "event": "T", "to": "x"}
    return [
        ("HELLO", {"protocol_version": 1, "client_name": text}),
        ("HELLO", {"protocol_version": 1, "features": [text]}),
        ("HELLO", {"protocol_version": 1, "wire_modes": [text]}),
        ("AUTH", {"token": text, "method": text}),
        ("PUT_MACHINE", {"machine": text, "version": 1, "definition": DEFINITION}),
        ("PUT_MACHINE", {"machine": "m", "version": 1, "definition": DEFINITION, "checksum": text}),
        ("PUT_MACHINE", {"machine": "m", "version": 1, "definition": {**DEFINITION, text: 1}}),
        ("PUT_MACHINE", {"machine": "m", "version": 1,
                         "definition": {**DEFINITION, "states": ["x", text], "initial": text}}),
        ("PUT_MACHINE", {"machine": "m", "version": 1, "definition": {
            **DEFINITION, "transitions": [{**transition, "to": text}]}}),
        ("PUT_MACHINE", {"machine": "m", "version": 1, "definition": {
            **DEFINITION, "transitions": [{**transition, "event": text, "guard": text}]}}),
        ("PUT_MACHINE", {"machine": "m", "version": 1, "definition": {
            **DEFINITION, "transitions": [{**transition, "guard": f"ctx.{text} == 1"}]}}),
        ("GET_MACHINE", {"machine": text}),
        ("CREATE_INSTANCE", {**create, "instance_id": text}),
        ("CREATE_INSTANCE", {**create, "machine": text}),
        ("CREATE_INSTANCE", {**create, "idempotency_key": text}),
        ("CREATE_INSTANCE", {**create, "initial_ctx": {text: text}}),
        ("GET_INSTANCE", {"instance_id": text}),
        ("LIST_INSTANCES", {"machine": text, "state": text}),
        ("LIST_INSTANCES", {"after": text}),
        ("DELETE_INSTANCE", {"instance_id": text}),
        ("DELETE_INSTANCE", {"instance_id": "nobody", "idempotency_key": text}),
        ("APPLY_EVENT", {**apply, "instance_id": text}),
        ("APPLY_EVENT", {**apply, "event": text}),
        ("APPLY_EVENT", {**apply, "payload": {text: text}}),
        ("APPLY_EVENT", {**apply, "expected_state": text}),
        ("APPLY_EVENT", {**apply, "event_id": text}),
        ("APPLY_EVENT", {**apply, "idempotency_key": text}),
        ("BATCH", {"mode": text, "ops": []}),
        ("BATCH", {"ops": [{"op": text, "params": {}}]}),
        ("BATCH", {"ops": [{"op": "GET_INSTANCE", "params": {"instance_id": text}}]}),
        ("SNAPSHOT_INSTANCE", {"instance_id": text}),
        ("BACKUP", {"name": text}),
        ("WATCH_INSTANCE", {"instance_id": text}),
        ("WATCH_ALL", {"machines": [text], "from_states": [text], "to_states": [text],
                       "events": [text]}),
        ("UNWATCH", {"subscription_id": text}),
        (text, {}),
        ("PING", {text: text}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def place(besiege_for_all: Besiege, tmp_path_factory: pytest.TempPathFactory) -> Siege:
    """A server that logs all it has to say, and has somewhere to put backups."""
    backups = tmp_path_factory.mktemp("backups")
    siege = besiege_for_all(RSTMDB_LOG_LEVEL="trace", RSTMDB_BACKUP_DIR=str(backups))
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition={
            "states": ["x"], "initial": "x",
            "transitions": [{"from": "x", "event": "T", "to": "x"}]})  # fmt: skip
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
    return siege


def send_all(siege: Siege, text: str) -> None:
    """Every request that holds the text; each is answered, in at most a few lines of message."""
    with siege.connect() as wire:
        for op, params in requests_with(text):
            answer = wire.response(wire.send(op, params, meta={"trace_id": text}))
            if answer["status"] == "error":
                assert answer["error"]["code"] != "INTERNAL_ERROR", (op, params, answer)
                assert len(answer["error"]["message"]) < 3000, (op, answer["error"]["message"])
        wire.send_json({"id": text, "op": "PING"})
        assert wire.receive()["id"] in (text, None)
        wire.send_json({"id": "1", "op": "PING", "type": text})
        assert wire.receive()["status"] == "error"


def test_what_a_client_sends_never_makes_or_colours_a_line_of_the_log(place: Siege) -> None:
    def attack() -> None:
        for text in (EVIL, NAMES["line breaks"], NAMES["escape codes"], NAMES["percent"]):
            send_all(place, text)
        with place.connect() as wire:
            wire.socket.sendall(EVIL.encode() * 3)  # no frame at all
            assert wire.closed_by_server()

    place.withstands("line breaks and escape codes in every string", attack)
    lines = place.server.log_path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    for line in lines:
        assert json.loads(line)["message"]
        assert line.decode("ascii").isprintable()
    assert not any(line.startswith(b"FAKE") for line in lines)


def everything_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_names_never_become_paths(place: Siege, name: str) -> None:
    folder = place.server.folder.parent  # backups are in it too
    before = everything_under(folder)
    own = NAMES[name] + "/1"
    with place.connect() as wire:
        answer = wire.request("CREATE_INSTANCE", machine="ring", version=1, instance_id=own)
        if answer["status"] == "ok":
            assert wire.call("GET_INSTANCE", instance_id=own)["instance_id"] == own
            snapshot = wire.call("SNAPSHOT_INSTANCE", instance_id=own)["snapshot_id"]
            assert (place.server.data_dir / "snapshots" / f"{snapshot}.snap").is_file()
        else:
            assert answer["error"]["code"] == "BAD_REQUEST"
    send_all(place, NAMES[name])
    for path in everything_under(folder) - before:
        assert re.match(r"siege\d+/data/(snapshots|wal)/|backups\d+/", path), path
        assert "passwd" not in path


def test_names_of_10_kb_and_more_are_refused_everywhere_a_name_is_stored(place: Siege) -> None:
    def attack() -> None:
        with place.connect() as wire:
            for text in (NAMES["10 KB"], NAMES["1 MB"]):
                for op, params in requests_with(text):
                    stored = op in ("CREATE_INSTANCE", "APPLY_EVENT", "PUT_MACHINE")
                    answer = wire.request(op, **params)
                    if stored and "initial_ctx" not in params and "payload" not in params:
                        assert answer["status"] == "error", (op, params.keys())

    place.withstands("10 KB and 1 MB in every string", attack)
