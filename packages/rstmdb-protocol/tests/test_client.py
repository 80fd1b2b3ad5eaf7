import json
from pathlib import Path

import pytest
import zstandard

from rstmdb_protocol import (
    FLAG_COMPRESSED,
    FLAG_END_STREAM,
    FLAG_STREAM,
    MAX_PAYLOAD_BYTES,
    ClientConnection,
    EndMessage,
    ErrorCode,
    EventMessage,
    FrameError,
    HelloResult,
    LocalProtocolError,
    RemoteProtocolError,
    Request,
    RequestMeta,
    ResponseMessage,
    ServerConnection,
    WireMode,
    encode_error,
    encode_frame,
    encode_line,
    encode_ok,
)

GOLDEN = Path(__file__).parent / "golden"


def exchange(client: ClientConnection, server: ServerConnection, data: bytes) -> None:
    """Let the server answer what the client sends; HELLO is negotiated."""
    server.feed(data)
    for request in server.requests():
        assert isinstance(request, Request)
        if request.op == "HELLO":
            mode, features = server.negotiate(request.params)
            server.switch(mode, features)
            result = HelloResult(1, mode, "rstmdb", "0.1.0", features)
            client.feed(server.pack(encode_ok(request.id, result)))
        else:
            client.feed(server.pack(encode_ok(request.id, {"op": request.op})))


def hello(wire_modes: list[str], features: list[str]) -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection(), ServerConnection()
    request_id, data = client.hello("test", wire_modes=wire_modes, features=features)
    exchange(client, server, data)
    [answer] = client.messages()
    assert isinstance(answer, ResponseMessage)
    assert answer.id == request_id
    return client, server


@pytest.mark.parametrize("mode", list(WireMode))
def test_after_hello_both_sides_speak_the_mode_that_was_chosen(mode: WireMode) -> None:
    client, server = hello([mode], [])
    assert client.mode is server.mode is mode
    request_id, data = client.request("PING", {})
    assert data.startswith(b"RCPX" if mode is WireMode.BINARY_JSON else b"{")
    exchange(client, server, data)
    [answer] = client.messages()
    assert isinstance(answer, ResponseMessage)
    assert answer.id == request_id
    assert json.loads(bytes(answer.result)) == {"op": "PING"}


@pytest.mark.parametrize("mode", list(WireMode))
def test_messages_right_behind_the_answer_to_hello_are_read_in_its_mode(mode: WireMode) -> None:
    client = ClientConnection()
    request_id, _ = client.hello("test", wire_modes=[mode])
    server = ServerConnection()
    server.switch(mode, [])
    result = HelloResult(1, mode, "rstmdb", "0.1.0", [])
    event = (GOLDEN / "event.line").read_bytes().rstrip()
    seen: list[type] = []
    for byte in server.pack(encode_ok(request_id, result)) + server.pack(event):
        client.feed(bytes([byte]))
        seen += [type(message) for message in client.messages()]
    assert seen == [ResponseMessage, EventMessage]


def test_large_requests_and_answers_are_compressed_where_agreed() -> None:
    client, server = hello(["binary_json"], ["zstd"])
    assert client.zstd
    assert server.zstd
    params = {"instance_id": "i", "event": "e", "payload": {"x": "y" * 10_000}}
    _, data = client.request("APPLY_EVENT", params)
    assert int.from_bytes(data[6:8]) & FLAG_COMPRESSED
    assert len(data) < 1000
    exchange(client, server, data)
    assert len(list(client.messages())) == 1
    answer = server.pack(encode_ok("9", {"x": "y" * 10_000}))
    assert len(answer) < 1000
    client.feed(answer)
    [message] = client.messages()
    assert isinstance(message, ResponseMessage)
    assert len(bytes(message.result)) > 10_000


def test_without_zstd_nothing_is_compressed_and_nothing_compressed_is_read() -> None:
    client, _ = hello(["binary_json"], [])
    params = {"instance_id": "i", "event": "e", "payload": {"x": "y" * 10_000}}
    assert len(client.request("APPLY_EVENT", params)[1]) > 10_000
    client.feed(encode_frame(zstandard.compress(b"{}"), FLAG_COMPRESSED))
    with pytest.raises(FrameError, match="zstd was not agreed"):
        list(client.messages())


def test_events_and_ends_are_read_between_responses() -> None:
    client = ClientConnection()
    event = (GOLDEN / "event.line").read_bytes().rstrip()
    end = (GOLDEN / "end.line").read_bytes().rstrip()
    client.feed(
        encode_frame(event, FLAG_STREAM)
        + encode_frame(encode_ok("1", {}))
        + encode_frame(end, FLAG_STREAM | FLAG_END_STREAM)
    )
    first, second, third = client.messages()
    assert first == EventMessage(
        "s-1", "order-1", "order", 1, 8, "new", "paid", "PAY", None, {"amount": 5}
    )
    assert isinstance(second, ResponseMessage)
    assert third == EndMessage("s-1", "compacted", 9)


def test_an_error_response_keeps_its_code_and_details() -> None:
    client = ClientConnection()
    client.feed(encode_frame((GOLDEN / "error.line").read_bytes()))
    client.feed(encode_frame(encode_error(None, ErrorCode.BAD_REQUEST, "bad magic")))
    first, last = client.messages()
    assert isinstance(first, ResponseMessage)
    assert isinstance(last, ResponseMessage)
    assert first.error is not None
    assert first.error.details == {"expected_state": "new", "actual_state": "paid"}
    assert first.meta is not None
    assert first.meta.trace_id == "t-1"
    assert last.error is not None
    assert (last.id, last.error.code) == (None, "BAD_REQUEST")


def test_ids_count_up_and_meta_is_sent_along() -> None:
    client = ClientConnection()
    ids = [client.request("PING", {})[0] for _ in range(3)]
    assert ids == ["1", "2", "3"]
    server = ServerConnection()
    server.feed(client.request("PING", {}, RequestMeta("t"))[1])
    [request] = server.requests()
    assert isinstance(request, Request)
    assert request.meta == RequestMeta("t")


def test_a_refused_hello_leaves_the_connection_as_it_was() -> None:
    client = ClientConnection()
    request_id, _ = client.hello("test", wire_modes=["jsonl"], features=["zstd"])
    refusal = encode_error(request_id, ErrorCode.UNSUPPORTED_PROTOCOL, "only version 1")
    client.feed(encode_frame(refusal))
    assert len(list(client.messages())) == 1
    assert client.mode is WireMode.BINARY_JSON
    assert not client.zstd


@pytest.mark.parametrize("result", [b"{}", b"[]", b'{"wire_mode":"msgpack"}', b"null"])
def test_an_unreadable_answer_to_hello_is_the_fault_of_the_server(result: bytes) -> None:
    client = ClientConnection()
    request_id, _ = client.hello("test")
    full = {"protocol_version": 1, "server_name": "x", "server_version": "1", "features": []}
    if b"wire_mode" in result:
        result = json.dumps(full | json.loads(result)).encode()
    head = f'{{"type":"response","id":"{request_id}","status":"ok","result":'.encode()
    client.feed(encode_frame(head + result + b"}"))
    with pytest.raises(FrameError, match="answer to HELLO"):
        list(client.messages())


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b"\xff", b'{"type":"news"}', b"[" * 100_000, b'{"type":"event"}'],
    ids=["empty", "object", "array", "utf8", "type", "nested", "fields"],
)
def test_a_message_that_cannot_be_read_ends_the_connection(payload: bytes) -> None:
    client = ClientConnection()
    client.feed(encode_frame(payload))
    with pytest.raises(RemoteProtocolError, match="can't be read"):
        list(client.messages())


def test_a_request_above_sixteen_mebibytes_is_not_sent() -> None:
    big = {"instance_id": "i", "event": "e", "payload": {"x": "y" * MAX_PAYLOAD_BYTES}}
    for client in (ClientConnection(), hello(["jsonl"], [])[0]):
        with pytest.raises(LocalProtocolError, match="16777216 bytes"):
            client.request("APPLY_EVENT", big)


def test_lines_of_a_server_may_end_as_on_windows() -> None:
    client, _ = hello(["jsonl"], [])
    client.feed(encode_line(encode_ok("5", {}) + b"\r"))
    [message] = client.messages()
    assert isinstance(message, ResponseMessage)
    assert message.id == "5"


def test_a_request_above_the_limit_is_refused_however_small_zstd_makes_it() -> None:
    client, _ = hello([WireMode.BINARY_JSON], ["zstd"])
    assert client.zstd
    with pytest.raises(LocalProtocolError, match="16777216 bytes"):
        client.request("PING", {"x": "y" * MAX_PAYLOAD_BYTES})
