import json

import pytest
import zstandard

from rstmdb_protocol import (
    COMPRESS_FROM_BYTES,
    FLAG_COMPRESSED,
    FLAG_END_STREAM,
    ErrorCode,
    FrameError,
    HelloParams,
    InvalidRequest,
    Request,
    ServerConnection,
    VersionError,
    WireMode,
    encode_frame,
    encode_ok,
)

PING = b'{"id":"1","op":"PING"}'
HELLO = b'{"id":"h","op":"HELLO","params":{"protocol_version":1,"wire_modes":["jsonl"]}}'


def flags_of(frame: bytes) -> int:
    return int.from_bytes(frame[6:8])


def test_a_connection_that_begins_with_a_frame_is_answered_in_frames() -> None:
    server = ServerConnection()
    server.feed(encode_frame(PING))
    answers = [server.pack(encode_ok(request.id, {})) for request in server.requests()]
    assert [answer[:4] for answer in answers] == [b"RCPX"]
    assert server.mode is WireMode.BINARY_JSON


def test_a_connection_that_begins_with_a_brace_is_answered_in_lines_from_the_first_one() -> None:
    server = ServerConnection()
    server.feed(PING + b"\r\n\n" + PING + b"\n")
    answers = [server.pack(encode_ok(request.id, {})) for request in server.requests()]
    assert answers == [b'{"type":"response","id":"1","status":"ok","result":{}}\n'] * 2


def test_an_error_of_the_first_line_is_answered_as_a_line() -> None:
    for broken in (b"{nonsense}\n", b"{" + b"x" * 200):
        server = ServerConnection(max_payload_bytes=100)
        server.feed(broken)
        with pytest.raises(FrameError):
            list(server.requests())
        assert server.pack(b"{}") == b"{}\n"


def test_hello_switches_to_lines_in_the_middle_of_a_chunk() -> None:
    server = ServerConnection()
    server.feed(encode_frame(HELLO) + PING + b"\n" + PING[:7])
    seen = []
    for request in server.requests():
        assert isinstance(request, Request)
        seen.append(request.op)
        if request.op == "HELLO":
            assert server.mode is WireMode.BINARY_JSON
            server.switch(*server.negotiate(request.params))
            assert server.pack(b"{}") == b"{}\n"
    assert seen == ["HELLO", "PING"]
    assert server.pending_bytes == 7
    server.feed(PING[7:] + b"\n")
    assert [request.id for request in server.requests()] == ["1"]


def test_answers_owed_from_before_hello_are_written_as_they_were_asked_for() -> None:
    server = ServerConnection()
    server.feed(encode_frame(PING) + encode_frame(HELLO) + PING + b"\n")
    requests = server.requests()
    next(requests)
    hello = next(requests)
    assert isinstance(hello, Request)
    agreed = server.negotiate(hello.params)
    server.switch_reading(*agreed)
    assert isinstance(next(requests), Request)
    assert server.pack(b"{}") == encode_frame(b"{}")
    server.switch_writing(*agreed)
    assert server.pack(b"{}") == b"{}\n"


@pytest.mark.parametrize(
    "message",
    [
        b'{"id":"1","op":"NOPE","meta":{"trace_id":"t"}}',
        b'{"id":1,"op":"PING","meta":{"trace_id":"t"}}',
        b'{"id":"' + b"x" * 300 + b'","op":"PING","meta":{"trace_id":"t"}}',
        b'{"id":"1","op":"GET_INSTANCE","params":{},"meta":{"trace_id":"t"}}',
        b'{"id":"1","type":"response","op":"PING","meta":{"trace_id":"t"}}',
    ],
)
def test_an_invalid_request_keeps_its_trace_id(message: bytes) -> None:
    server = ServerConnection()
    server.feed(encode_frame(message))
    (request,) = server.requests()
    assert isinstance(request, InvalidRequest)
    assert request.trace_id == "t"


def test_an_invalid_request_leaves_the_connection_open() -> None:
    server = ServerConnection()
    server.feed(encode_frame(b'{"id":"1","op":"NOPE"}') + encode_frame(PING))
    first, second = server.requests()
    assert isinstance(first, InvalidRequest)
    assert isinstance(second, Request)


@pytest.mark.parametrize("version", [0, 2, -1, 10**300])
def test_another_protocol_version_in_hello_is_unsupported(version: int) -> None:
    with pytest.raises(VersionError, match="only version 1") as caught:
        ServerConnection().negotiate(HelloParams(version))
    assert caught.value.code is ErrorCode.UNSUPPORTED_PROTOCOL


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, "binary_json"),
        ([], "binary_json"),
        (["jsonl"], "jsonl"),
        (["msgpack", "jsonl", "binary_json"], "jsonl"),
        (["binary_json", "jsonl"], "binary_json"),
        (["msgpack"], "binary_json"),
    ],
)
def test_the_first_wire_mode_that_is_known_wins(offered: list[str] | None, chosen: str) -> None:
    mode, _ = ServerConnection().negotiate(HelloParams(1, wire_modes=offered))
    assert mode == chosen


def test_lines_stay_lines_unless_hello_asks_for_frames() -> None:
    server = ServerConnection()
    server.feed(b"{")
    assert list(server.requests()) == []
    assert server.negotiate(HelloParams(1))[0] is WireMode.JSONL
    mode, _ = server.negotiate(HelloParams(1, wire_modes=["binary_json"]))
    assert mode is WireMode.BINARY_JSON


def test_features_are_the_sorted_intersection() -> None:
    hello = HelloParams(1, features=["zstd", "batch", "unheard_of", "batch"])
    server = ServerConnection()
    assert server.negotiate(hello)[1] == ["batch", "zstd"]
    assert server.negotiate(hello, ["batch", "backup"])[1] == ["batch"]
    assert server.negotiate(HelloParams(1))[1] == []


def test_only_large_messages_are_compressed_and_only_where_agreed() -> None:
    small, large = b"x" * (COMPRESS_FROM_BYTES - 1), b"x" * COMPRESS_FROM_BYTES
    server = ServerConnection()
    assert server.pack(large) == encode_frame(large)
    server.switch(WireMode.BINARY_JSON, ["zstd"])
    assert server.features == {"zstd"}
    assert server.pack(small) == encode_frame(small)
    packed = server.pack(large, FLAG_END_STREAM)
    assert flags_of(packed) == 1 | FLAG_COMPRESSED | FLAG_END_STREAM
    assert zstandard.decompress(packed[18:]) == large
    server.switch(WireMode.JSONL, ["zstd"])
    assert server.pack(large) == large + b"\n"


def test_a_smaller_limit_holds_for_frames_lines_and_decompressed_content() -> None:
    long = json.dumps({"id": "1", "op": "PING", "pad": "x" * 5000}).encode()
    for data in (
        encode_frame(long),
        long + b"\n",
        encode_frame(zstandard.compress(long), FLAG_COMPRESSED),
    ):
        server = ServerConnection(max_payload_bytes=4096)
        if data[0] == ord("R"):
            server.switch(WireMode.BINARY_JSON, ["zstd"])
        server.feed(data)
        with pytest.raises(FrameError, match="4096"):
            list(server.requests())


def test_the_limit_can_be_raised_on_the_way() -> None:
    server = ServerConnection(max_payload_bytes=len(PING))
    long = PING + b" " * 100
    server.feed(encode_frame(PING) + encode_frame(long))
    seen = 0
    for _ in server.requests():
        server.max_payload_bytes = 1000
        seen += 1
    assert seen == 2
    assert server.max_payload_bytes == 1000
