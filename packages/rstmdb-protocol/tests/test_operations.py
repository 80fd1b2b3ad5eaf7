"""The golden files: for each operation a request and its response, exactly as on the wire."""

import json
from pathlib import Path

import msgspec
import pytest

from rstmdb_protocol import (
    BATCH_OPERATIONS,
    FEATURES,
    OPERATIONS,
    ClientConnection,
    Request,
    ResponseMessage,
    ServerConnection,
    decode_request,
    encode_frame,
    encode_ok,
)

GOLDEN = Path(__file__).parent / "golden" / "operations"


def golden(op: str) -> tuple[bytes, bytes]:
    request, response = (GOLDEN / f"{op}.jsonl").read_bytes().splitlines()
    return request, response


def test_there_is_a_golden_file_for_each_operation_and_no_other() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(OPERATIONS)


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_client_writes_the_golden_request(op: str) -> None:
    request, _ = golden(op)
    decoded = decode_request(request)
    assert isinstance(decoded, Request)
    for params in (decoded.params, json.loads(request)["params"]):
        assert ClientConnection().request(op, params) == ("1", encode_frame(request))


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_server_writes_the_golden_response(op: str) -> None:
    _, response = golden(op)
    message = msgspec.json.decode(response, type=ResponseMessage)
    result = msgspec.json.decode(message.result, type=OPERATIONS[op].result)
    assert encode_ok("1", result, message.meta or msgspec.UNSET) == response


@pytest.mark.parametrize("op", OPERATIONS)
def test_both_golden_messages_pass_through_the_connections(op: str) -> None:
    request, response = golden(op)
    server = ServerConnection()
    server.feed(encode_frame(request))
    [received] = server.requests()
    assert isinstance(received, Request)
    assert received.op == op
    client = ClientConnection()
    client.feed(server.pack(response))
    [answer] = client.messages()
    assert isinstance(answer, ResponseMessage)
    assert (answer.id, answer.status) == ("1", "ok")
    assert json.loads(bytes(answer.result)) == json.loads(response)["result"]


def test_a_batch_holds_the_machine_instance_and_event_operations() -> None:
    assert {
        "PUT_MACHINE",
        "GET_MACHINE",
        "LIST_MACHINES",
        "CREATE_INSTANCE",
        "GET_INSTANCE",
        "LIST_INSTANCES",
        "DELETE_INSTANCE",
        "APPLY_EVENT",
    } == BATCH_OPERATIONS


def test_the_features_are_sorted_as_hello_answers_them() -> None:
    assert list(FEATURES) == sorted(FEATURES)
    assert set(FEATURES) == {
        "idempotency", "batch", "wal_read", "watch", "watch_end", "zstd", "backup"
    }  # fmt: skip


def test_operations_that_take_a_key_say_so() -> None:
    for operation in OPERATIONS.values():
        assert operation.keyed == ("idempotency_key" in operation.params.__struct_fields__)
