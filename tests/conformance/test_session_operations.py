"""HELLO, AUTH, PING, BYE, INFO and the envelopes, over a real socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rstmdb_server.auth import hash_token
from rstmdb_server.testing import ServerProcess
from wire import COMPRESSED, Refused, Wire, frame

Connect = Callable[..., Wire]


def test_hello_agrees_on_protocol_mode_and_the_sorted_intersection_of_features(
    connect_framed: Connect,
) -> None:
    wire = connect_framed(hello=False)
    result = wire.call(
        "HELLO",
        protocol_version=1,
        client_name="test",
        wire_modes=["unknown", "binary_json"],
        features=["watch", "batch", "telepathy", "idempotency"],
    )
    assert result["protocol_version"] == 1
    assert result["wire_mode"] == "binary_json"
    assert result["server_name"] == "rstmdb"
    assert result["server_version"]
    assert result["features"] == ["batch", "idempotency", "watch"]


def test_hello_of_another_version_is_refused_and_names_the_supported_one(
    connect_framed: Connect,
) -> None:
    with pytest.raises(Refused) as refused:
        connect_framed(hello=False).call("HELLO", protocol_version=2)
    assert refused.value.code == "UNSUPPORTED_PROTOCOL"
    assert refused.value.details["supported"] == [1]


def test_a_singular_wire_mode_in_hello_is_ignored(connect_framed: Connect) -> None:
    wire = connect_framed(hello=False)
    assert wire.call("HELLO", protocol_version=1, wire_mode="jsonl")["wire_mode"] == "binary_json"
    assert wire.call("PING") == {"pong": True}


def test_a_client_without_hello_speaks_protocol_one_in_frames(connect_framed: Connect) -> None:
    assert connect_framed(hello=False).call("PING") == {"pong": True}


def test_hello_switches_to_json_lines_from_its_own_answer_on(connect_framed: Connect) -> None:
    wire = connect_framed(hello=False)
    request_id = wire.send("HELLO", {"protocol_version": 1, "wire_modes": ["jsonl"]})
    wire.jsonl = True
    assert wire.response(request_id)["result"]["wire_mode"] == "jsonl"
    assert wire.call("PING") == {"pong": True}


def test_a_line_behind_hello_in_the_same_packet_is_read_as_a_line(connect_framed: Connect) -> None:
    wire = connect_framed(hello=False)
    hello = {"id": "1", "op": "HELLO", "params": {"protocol_version": 1, "wire_modes": ["jsonl"]}}
    wire.socket.sendall(frame(json.dumps(hello).encode()) + b'{"id":"2","op":"PING"}\n')
    wire.jsonl = True
    assert wire.receive()["id"] == "1"
    assert wire.receive() == {
        "type": "response",
        "id": "2",
        "status": "ok",
        "result": {"pong": True},
    }


def test_a_connection_that_begins_with_a_brace_speaks_json_lines(connect_framed: Connect) -> None:
    wire = connect_framed(hello=False)
    wire.socket.sendall(b'{"id":"1","op":"PING"}\r\n\n{"id":"2","op":"PING"}\n')
    wire.jsonl = True
    assert [wire.receive()["id"], wire.receive()["id"]] == ["1", "2"]


def test_bye_is_answered_and_the_connection_closed(connect: Connect) -> None:
    wire = connect()
    assert wire.call("BYE") == {"goodbye": True}
    assert wire.closed_by_server()


def test_info_tells_what_a_client_needs_to_know(connect: Connect) -> None:
    info = connect().call("INFO")
    assert info["server_name"] == "rstmdb"
    assert info["protocol_version"] == 1
    assert info["max_frame_bytes"] == 16 * 1024 * 1024
    assert info["max_batch_ops"] == 100
    assert "idempotency" in info["features"]
    assert info["connections"] >= 1
    assert {"server_version", "uptime_secs", "instances", "machines", "wal_offset"} <= info.keys()


def test_any_token_passes_where_authentication_is_not_required(connect: Connect) -> None:
    assert connect().call("AUTH", method="bearer", token="anything") == {"authenticated": True}


@pytest.mark.parametrize("params", [{"token": ""}, {"token": "x", "method": "basic"}])
def test_an_empty_token_or_another_method_is_refused(
    connect: Connect, params: dict[str, str]
) -> None:
    with pytest.raises(Refused) as refused:
        connect().call("AUTH", **params)
    assert refused.value.code == "AUTH_FAILED"


def test_the_trace_id_comes_back_and_other_meta_is_left_out(connect: Connect) -> None:
    wire = connect()
    answer = wire.response(wire.send("PING", meta={"trace_id": "abc"}))
    assert answer["meta"] == {"trace_id": "abc"}
    assert "meta" not in wire.request("PING")


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ({"id": "1"}, "op"),
        ({"id": "1", "op": "PIN"}, "PING"),
        ({"id": "1", "op": 5}, "op"),
        ({"id": "1", "op": "GET_INSTANCE", "params": {"instance_id": 5}}, "instance_id"),
        ({"id": "1", "op": "GET_INSTANCE"}, "instance_id"),
        ({"id": "1", "op": "PING", "params": []}, "params"),
        ({"id": "1", "type": "response", "op": "PING"}, "type"),
    ],
)
def test_json_that_is_no_valid_request_is_refused_with_its_id_and_the_connection_stays(
    connect: Connect, message: dict[str, object], part: str
) -> None:
    wire = connect()
    wire.send_json(message)
    answer = wire.receive()
    assert answer["id"] == "1"
    assert answer["error"]["code"] == "BAD_REQUEST"
    assert answer["error"]["retryable"] is False
    assert part in answer["error"]["message"]
    assert wire.call("PING") == {"pong": True}


def test_an_id_over_256_bytes_is_refused_and_the_connection_stays(connect: Connect) -> None:
    wire = connect()
    wire.send_json({"id": "ü" * 129, "op": "PING"})
    assert wire.receive()["error"]["code"] == "BAD_REQUEST"
    assert wire.call("PING") == {"pong": True}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "BAD_REQUEST"),
        (b"RCPX\0\2" + bytes(12), "UNSUPPORTED_PROTOCOL"),
        (b"RCPX\0\1\x80\0\0\0" + bytes(8), "BAD_REQUEST"),
        (b"RCPX\0\1\0\0\0\0\x7f\xff\xff\xff" + bytes(4), "BAD_REQUEST"),
        (b"RCPX\0\1\0\1\0\0\0\0\0\2\0\0\0\0{}", "BAD_REQUEST"),
        (b"RCPX\0\1\0\0\0\0\0\0\0\2\0\0\0\0\xff\xff", "BAD_REQUEST"),
        (b"RCPX\0\1\0\0\0\0\0\0\0\3\0\0\0\0{}x", "BAD_REQUEST"),
        (b"RCPX\0\1\0\2\0\0\0\0\0\2\0\0\0\0{}", "BAD_REQUEST"),
    ],
    ids=["magic", "version", "flags", "oversize", "crc", "utf8", "trailing", "zstd"],
)
def test_an_error_of_framing_is_answered_without_an_id_and_closes_the_connection(
    connect_framed: Connect, data: bytes, code: str
) -> None:
    wire = connect_framed(hello=False)
    wire.socket.sendall(data)
    answer = wire.receive()
    assert answer["id"] is None
    assert answer["error"]["code"] == code
    assert wire.closed_by_server()


def test_requests_before_a_framing_error_are_answered_first(connect_framed: Connect) -> None:
    wire = connect_framed()
    request_id = wire.send("PING")
    wire.socket.sendall(b"nonsense of more than eighteen bytes")
    assert wire.response(request_id)["status"] == "ok"
    assert wire.receive()["id"] is None
    assert wire.closed_by_server()


def test_what_fits_no_packet_comes_back_whole(orders: Wire) -> None:
    """A megabyte each way: many packets, TLS records and reads, or one compressed frame."""
    text = "".join(f"{number:06d}" for number in range(170_000))
    orders.call(
        "CREATE_INSTANCE", machine="order", version=1, instance_id="big",
        initial_ctx={"text": text},
    )  # fmt: skip
    assert orders.call("GET_INSTANCE", instance_id="big")["ctx"] == {"text": text}
    assert bool(orders.last_flags & COMPRESSED) == orders.zstd
    assert orders.call("PING") == {"pong": True}
    assert not orders.last_flags & COMPRESSED  # it is small


def test_a_request_that_arrives_byte_by_byte_is_answered(
    orders: Wire, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = connect()
    whole = bytearray()
    send = slow.socket.sendall
    with monkeypatch.context() as patch:
        patch.setattr(Wire, "send_payload", lambda wire, payload: whole.extend(
            payload + b"\n" if wire.jsonl else frame(payload)))  # fmt: skip
        request_id = slow.send("GET_INSTANCE", {"instance_id": "o-1"})
    for byte in whole:
        send(bytes([byte]))
    assert slow.response(request_id)["result"]["state"] == "created"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that wants a token."""
    env = {"RSTMDB_AUTH_REQUIRED": "true", "RSTMDB_AUTH_TOKEN_HASH": hash_token("s3cret")}
    with ServerProcess(tmp_path, env) as process:
        yield process


def test_everything_but_hello_auth_ping_bye_needs_a_token(guarded: ServerProcess) -> None:
    with Wire(guarded.host, guarded.port) as wire:
        assert wire.call("PING") == {"pong": True}
        for op in ("INFO", "LIST_MACHINES", "WATCH_ALL", "WAL_STATS", "FLUSH_ALL"):
            assert wire.request(op)["error"]["code"] == "UNAUTHORIZED", op
        assert wire.request("BATCH", ops=[])["error"]["code"] == "UNAUTHORIZED"
        assert wire.call("AUTH", token="s3cret") == {"authenticated": True}
        assert wire.call("LIST_MACHINES") == {"items": []}
        assert wire.call("BYE") == {"goodbye": True}
    assert "s3cret" not in guarded.log_path.read_text()


def test_three_wrong_tokens_close_the_connection(guarded: ServerProcess) -> None:
    with Wire(guarded.host, guarded.port) as wire:
        for _ in range(3):
            answer = wire.request("AUTH", token="wrong")
            assert answer["error"]["code"] == "AUTH_FAILED"
        assert wire.closed_by_server()


def test_a_frame_over_64_kib_before_authentication_is_refused(guarded: ServerProcess) -> None:
    with Wire(guarded.host, guarded.port) as wire:
        wire.send_json({"id": "1", "op": "PING", "params": {"x": "y" * 70_000}})
        assert wire.receive()["error"]["code"] == "BAD_REQUEST"
        assert wire.closed_by_server()
