"""Poisonous messages: JSON that is none, that is too much, or that means nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from wire import Json, frame

if TYPE_CHECKING:
    from abuse.conftest import Siege

COMPRESSED = 2
APPLY = b'{"id":"1","op":"APPLY_EVENT","params":{"instance_id":"r","event":"T","payload":%s}}'


def bomb(size: int, *, declared: bool) -> bytes:
    """`size` zeros, compressed, with or without the size in the zstd header."""
    compressor = zstandard.ZstdCompressor(level=3)
    if declared:
        return compressor.compress(bytes(size))
    stream = compressor.compressobj()
    return stream.compress(bytes(size)) + stream.flush()


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
def test_decompression_bombs_are_refused_before_they_unfold(siege: Siege, declared: bool) -> None:
    data = frame(bomb(256 << 20, declared=declared), COMPRESSED)

    def attack() -> None:
        with siege.connect(features=("zstd",)) as wire:
            wire.socket.sendall(data)
            assert wire.receive()["error"]["code"] == "BAD_REQUEST"
            assert wire.closed_by_server()

    name = "decompression bomb, size " + ("declared" if declared else "left out")
    siege.withstands(name, attack)


def test_what_claims_to_be_compressed_and_is_not_is_refused(siege: Siege) -> None:
    truncated = bomb(8192, declared=True)[:-3]

    def attack() -> None:
        for payload in (b"", b"{}", truncated, bytes(5000)):
            with siege.connect(features=("zstd",)) as wire:
                wire.socket.sendall(frame(payload, COMPRESSED))
                assert wire.receive()["error"]["code"] == "BAD_REQUEST"
                assert wire.closed_by_server()

    siege.withstands("broken zstd", attack)


NOT_JSON = {
    "bad UTF-8": APPLY % b'{"s":"\xff"}',
    "overlong UTF-8": APPLY % b'{"s":"\xc0\x80"}',
    "a surrogate in UTF-8": APPLY % b'{"s":"\xed\xa0\x80"}',
    "NaN": APPLY % b'{"n":NaN}',
    "Infinity": APPLY % b'{"n":Infinity}',
    "-Infinity": APPLY % b'{"n":-Infinity}',
    "a lone surrogate": APPLY % b'{"s":"\\ud800"}',
    "trailing data": b'{"id":"1","op":"PING"} trailing',
    "two messages": b'{"id":"1","op":"PING"}{"id":"2","op":"PING"}',
    "an unclosed string": b'{"id":"1","op":"PING',
    "nothing": b"   ",
}


def test_what_is_not_json_ends_the_connection(siege: Siege) -> None:
    def attack() -> None:
        for name, payload in NOT_JSON.items():
            with siege.connect() as wire:
                wire.send_payload(payload)
                answer = wire.receive()
                assert answer["error"]["code"] == "BAD_REQUEST", name
                assert answer["id"] is None, name
                assert wire.closed_by_server(), name

    siege.withstands("bad UTF-8, NaN, Infinity, surrogates, trailing data", attack)


def refused_and_open(siege: Siege, payload: bytes) -> Json:
    """Send a message; its refusal, after which the connection still serves."""
    with siege.connect() as wire:
        wire.send_payload(payload)
        answer = wire.receive()
        assert answer["status"] == "error", answer
        assert answer["error"]["code"] == "BAD_REQUEST"
        assert len(answer["error"]["message"]) < 1500
        assert wire.call("PING") == {"pong": True}
        return answer


TOO_MUCH = {
    "an integer of 5,000 digits": APPLY % (b'{"n":' + b"9" * 5000 + b"}"),
    "a float beyond all": APPLY % b'{"n":1e999}',
    "65 bits": APPLY % b'{"n":18446744073709551616}',
    "an id of 100 KB": b'{"id":"' + b"x" * 100_000 + b'","op":"PING"}',
    "duplicate keys": b'{"id":"1","id":"2","op":"NOPE","op":"STILL_NOPE"}',
    "an array": b"[1,2,3]",
    "a number": b"5",
    "null": b"null",
}


def test_numbers_out_of_range_and_what_is_no_request_are_refused(siege: Siege) -> None:
    """Whether a number out of range is JSON is the reader's view; a refusal it is in any case."""

    def attack() -> None:
        for name, payload in TOO_MUCH.items():
            with siege.connect() as wire:
                wire.send_payload(payload)
                answer = wire.receive()
                assert answer["error"]["code"] == "BAD_REQUEST", name
                assert len(answer["error"]["message"]) < 1500, name

    siege.withstands("integers of 5,000 digits, duplicate keys, no object", attack)


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"]
)
@pytest.mark.parametrize("place", ["params", "payload", "an unknown field"])
def test_nesting_of_100_000_breaks_nothing(
    siege: Siege, opening: bytes, closing: bytes, place: str
) -> None:
    deep = opening * 100_000 + b"1" + closing * 100_000
    payload = {
        "params": b'{"id":"1","op":"PING","params":' + deep + b"}",
        "payload": APPLY % (b'{"n":' + deep + b"}"),
        "an unknown field": b'{"id":"1","op":"PING","more":' + deep + b"}",
    }[place]

    def attack() -> None:
        for _ in range(50):
            with siege.connect() as wire:
                wire.send_payload(payload)
                assert wire.receive()["status"] in ("ok", "error")

    siege.withstands(f"nesting of 100,000 in {place}", attack, seconds=0)


def test_a_few_hundred_nestings_in_a_payload_are_refused(siege: Siege) -> None:
    deep = b'{"n":' + b"[" * 500 + b"]" * 500 + b"}"
    refused_and_open(siege, APPLY % deep)


def test_of_duplicate_keys_the_last_one_counts_as_everywhere_in_json(siege: Siege) -> None:
    with siege.connect() as wire:
        wire.send_payload(APPLY % b'{"n":1,"n":2}')
        assert wire.receive()["result"]["ctx"]["n"] == 2


WRONG_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 2**70, "", "x", [], [None], {}, {"a": {}})
PARAMS = (
    "machine", "version", "definition", "checksum", "instance_id", "initial_ctx", "payload",
    "event", "event_id", "idempotency_key", "expected_state", "expected_wal_offset", "ops",
    "mode", "limit", "offset", "after", "state", "from_offset", "machines", "from_states",
    "to_states", "events", "include_ctx", "subscription_id", "force_snapshot", "name", "token",
    "method", "protocol_version", "client_name", "wire_modes", "features",
)  # fmt: skip
OPS = (
    "HELLO", "AUTH", "PING", "INFO", "PUT_MACHINE", "GET_MACHINE", "LIST_MACHINES",
    "CREATE_INSTANCE", "GET_INSTANCE", "LIST_INSTANCES", "DELETE_INSTANCE", "APPLY_EVENT",
    "BATCH", "WAL_READ", "WAL_STATS", "SNAPSHOT_INSTANCE", "BACKUP", "FLUSH_ALL",
    "WATCH_INSTANCE", "WATCH_ALL", "UNWATCH",
)  # fmt: skip


def test_every_operation_meets_every_wrong_type_in_every_field(siege: Siege) -> None:
    """Answered one by one, in order, with an error of the client's or a result; never ours."""

    def attack() -> None:
        with siege.connect() as wire:
            for op in OPS:
                asked: list[str] = []
                for value in WRONG_VALUES:
                    fields = ({"instance_id": "nobody", field: value} for field in PARAMS)
                    asked.extend(wire.send(op, params) for params in fields)
                    asked.append(wire.send(op, {}))
                    wire.send_json({"id": "p", "op": op, "params": value})
                    asked.append("p")
                for request_id in asked:
                    answer = wire.response(request_id)
                    if answer["status"] == "error":
                        assert answer["error"]["code"] != "INTERNAL_ERROR", (op, answer)

    siege.withstands("every operation with every wrong type", attack)


def test_unknown_operations_and_envelopes_are_refused_with_their_id(siege: Siege) -> None:
    messages: list[Any] = [
        {"id": "1", "op": "PIN"},
        {"id": "1", "op": "ping"},
        {"id": "1", "op": "x" * 100_000},
        {"id": "1", "op": ""},
        {"id": "1", "op": None},
        {"id": "1", "op": ["PING"]},
        {"id": "1", "op": {"PING": 1}},
        {"id": "1"},
        {"id": "1", "op": "PING", "type": "response"},
        {"id": "1", "op": "PING", "type": 5},
        {"id": "1", "op": "PING", "meta": []},
        {"id": "1", "op": "PING", "meta": {"trace_id": 5}},
    ]

    def attack() -> None:
        for message in messages:
            answer = refused_and_open(siege, json.dumps(message).encode())
            assert answer["id"] == "1", message

    siege.withstands("unknown operations and broken envelopes", attack)


@pytest.mark.parametrize("request_id", [None, 5, True, [], {}, "x" * 257, "ü" * 129])
def test_an_id_that_is_none_is_refused_with_a_null_id(siege: Siege, request_id: object) -> None:
    answer = refused_and_open(siege, json.dumps({"id": request_id, "op": "PING"}).encode())
    assert answer["id"] is None
