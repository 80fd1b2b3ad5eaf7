import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_protocol import (
    OPERATIONS,
    REQUEST_TYPES,
    BatchParams,
    ErrorCode,
    FrameError,
    InvalidRequest,
    NoParams,
    Request,
    decode_params,
    decode_request,
)

GOLDEN = Path(__file__).parent / "golden" / "operations"

MINIMAL: dict[str, dict[str, Any]] = {
    "HELLO": {"protocol_version": 1},
    "AUTH": {"token": "t"},
    "PING": {},
    "BYE": {},
    "INFO": {},
    "PUT_MACHINE": {"machine": "m", "version": 1, "definition": {}},
    "GET_MACHINE": {"machine": "m"},
    "LIST_MACHINES": {},
    "CREATE_INSTANCE": {"machine": "m", "version": 1},
    "GET_INSTANCE": {"instance_id": "i"},
    "LIST_INSTANCES": {},
    "DELETE_INSTANCE": {"instance_id": "i"},
    "APPLY_EVENT": {"instance_id": "i", "event": "e"},
    "BATCH": {"ops": []},
    "WAL_READ": {"from_offset": 0},
    "WAL_STATS": {},
    "SNAPSHOT_INSTANCE": {"instance_id": "i"},
    "COMPACT": {},
    "BACKUP": {},
    "FLUSH_ALL": {},
    "WATCH_INSTANCE": {"instance_id": "i"},
    "WATCH_ALL": {},
    "UNWATCH": {"subscription_id": "s"},
}
REQUIRED = [(op, field) for op, params in MINIMAL.items() for field in params]


def decode(message: dict[str, Any]) -> Request | InvalidRequest:
    return decode_request(json.dumps(message).encode())


def request(op: str, params: object, **more: object) -> Request:
    decoded = decode({"id": "7", "op": op, "params": params, **more})
    assert isinstance(decoded, Request), decoded
    return decoded


def invalid(message: dict[str, Any]) -> InvalidRequest:
    decoded = decode(message)
    assert isinstance(decoded, InvalidRequest), decoded
    assert decoded.code is ErrorCode.BAD_REQUEST
    return decoded


def apply_event(value: bytes) -> bytes:
    return (
        b'{"id":"7","op":"APPLY_EVENT","params":{"instance_id":"i","event":"e","payload":{"x":'
        + value
        + b"}}}"
    )


def full_params(op: str) -> dict[str, Any]:
    first = (GOLDEN / f"{op}.jsonl").read_bytes().splitlines()[0]
    params: dict[str, Any] = json.loads(first)["params"]
    return params


def received_type(op: str) -> type[Any]:
    operation = OPERATIONS[op]
    return operation.received or operation.params


@pytest.mark.parametrize("op", OPERATIONS)
def test_each_operation_decodes_from_its_minimal_params(op: str) -> None:
    decoded = request(op, MINIMAL[op])
    assert decoded.op == op
    assert type(decoded) is REQUEST_TYPES[op]
    assert type(decoded.params) is received_type(op)


@pytest.mark.parametrize("op", OPERATIONS)
def test_each_operation_decodes_from_all_of_its_params(op: str) -> None:
    full = full_params(op)
    assert set(full) == set(OPERATIONS[op].params.__struct_fields__)
    assert json.loads(msgspec.json.encode(request(op, full).params)) == full


def test_the_operations_of_a_batch_stay_encoded() -> None:
    params = request("BATCH", full_params("BATCH")).params
    assert isinstance(params, BatchParams)
    assert params.mode == "best_effort"
    assert [json.loads(bytes(op.params)) for op in params.ops] == [
        {"instance_id": "order-1"},
        {"instance_id": "gone"},
    ]


@pytest.mark.parametrize("op", OPERATIONS)
def test_null_counts_as_absent_for_every_optional_param(op: str) -> None:
    nulls = dict.fromkeys(set(OPERATIONS[op].params.__struct_fields__) - set(MINIMAL[op]))
    assert request(op, MINIMAL[op] | nulls) == request(op, MINIMAL[op])


@pytest.mark.parametrize("op", [op for op, params in MINIMAL.items() if not params])
def test_params_that_are_absent_or_null_are_empty_where_nothing_is_required(op: str) -> None:
    empty = request(op, {})
    assert request(op, None) == empty
    assert decode({"id": "7", "op": op}) == empty


def test_null_counts_as_absent_in_the_envelope() -> None:
    assert request("PING", {}, type=None, meta=None) == request("PING", {})
    assert request("PING", {}, meta={"trace_id": None}).meta is not None


def test_unknown_fields_are_ignored_everywhere() -> None:
    extra = {"another": [1, {"deep": None}]}
    decoded = request("GET_INSTANCE", {"instance_id": "i"} | extra, meta=extra, **extra)
    assert decoded.params.instance_id == "i"


def test_the_type_of_the_envelope_is_optional() -> None:
    assert request("PING", {}, type="request") == request("PING", {})
    answer = invalid({"id": "7", "op": "PING", "type": "event"})
    assert answer.id == "7"
    assert answer.message == "type: expected 'request', got 'event'"


def test_a_trace_id_is_kept() -> None:
    meta = request("PING", {}, meta={"trace_id": "t"}).meta
    assert meta is not None
    assert meta.trace_id == "t"
    assert invalid({"id": "7", "op": "PING", "meta": {"trace_id": 1}}).message.startswith(
        "meta.trace_id: expected str"
    )


@pytest.mark.parametrize(("op", "field"), REQUIRED)
def test_a_missing_field_is_named(op: str, field: str) -> None:
    params = {key: value for key, value in MINIMAL[op].items() if key != field}
    answer = invalid({"id": "7", "op": op, "params": params})
    assert answer.id == "7"
    assert answer.message == f"{op}: params: object missing required field {field}"


@pytest.mark.parametrize(
    ("op", "field"),
    [
        (op, field)
        for op in OPERATIONS
        for field in OPERATIONS[op].params.__struct_fields__
        if field != "definition"
    ],
)
def test_a_mistyped_field_is_named(op: str, field: str) -> None:
    answer = invalid({"id": "7", "op": op, "params": MINIMAL[op] | {field: 1.5}})
    assert answer.id == "7"
    assert answer.message.startswith(f"{op}: params.{field}: expected ")
    assert answer.message.endswith("got float")


@pytest.mark.parametrize("version", [0, -1, 2**32, 10**30])
def test_a_machine_version_out_of_range_is_named(version: int) -> None:
    params = MINIMAL["CREATE_INSTANCE"] | {"version": version}
    answer = invalid({"id": "7", "op": "CREATE_INSTANCE", "params": params})
    assert answer.message.startswith("CREATE_INSTANCE: params.version: ")


@pytest.mark.parametrize("params", [[], "x", 1, True])
def test_params_that_are_no_object_are_refused(params: object) -> None:
    answer = invalid({"id": "7", "op": "PING", "params": params})
    assert answer.message.startswith("PING: params: expected object")


def test_an_unknown_operation_is_answered_with_a_suggestion() -> None:
    near = invalid({"id": "7", "op": "apply_evnt"})
    assert near.id == "7"
    assert near.message == "op: unknown operation 'apply_evnt'; did you mean APPLY_EVENT?"
    assert "known: HELLO, AUTH" in invalid({"id": "7", "op": "?"}).message
    assert invalid({"id": "7"}).message == "op: is missing"
    assert invalid({"id": "7", "op": 1}).message == "op: expected a string, got 1"


def test_an_operation_of_ten_kilobytes_is_not_repeated_in_the_answer() -> None:
    assert len(invalid({"id": "7", "op": "\x1b[2J\n" * 2000}).message) < 600
    assert "\x1b" not in invalid({"id": "7", "op": "\x1b[2J\n" * 2000}).message


def test_an_id_is_needed_to_answer_with_it() -> None:
    for message, text in (
        ({"op": "PING"}, "id: is missing"),
        ({"op": "PING", "id": None}, "id: is missing"),
        ({"op": "PING", "id": 7}, "id: expected a string, got 7"),
        ({"op": "PING", "id": ["7"]}, "id: expected a string, got ['7']"),
    ):
        answer = invalid(message)
        assert (answer.id, answer.message) == (None, text)


@pytest.mark.parametrize("letter", ["a", "é", "€", "😀"])
def test_the_limit_of_an_id_counts_bytes_and_not_characters(letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (256 // size) + "a" * (256 % size)
    assert request("PING", {}, id=longest).id == longest
    for op in ("PING", "NOPE"):
        answer = invalid({"id": longest + "a", "op": op})
        assert (answer.id, answer.message) == (None, "id: longer than 256 bytes")


@pytest.mark.parametrize("message", [b"[]", b"null", b"1", b'"x"', b"true"])
def test_json_that_is_no_object_is_an_invalid_request(message: bytes) -> None:
    assert decode_request(message) == InvalidRequest(None, "a message must be a JSON object")


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'"\xff"',
        b'"\xed\xa0\x80"',  # a surrogate in UTF-8
        b'"\xc0\xaf"',  # overlong
        b'"\x01"',
        b'"\n"',
        b"'x'",
        b"01",
        b"1.",
        b"+1",
        b"[1,]",
        b"{",
        b"//",
        b"",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
    ],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_no_readable_json_ends_the_connection(value: bytes) -> None:
    with pytest.raises(FrameError):
        decode_request(apply_event(value))
    with pytest.raises(FrameError):  # the same where it would be skipped
        decode_request(b'{"id":"7","op":"PING","unknown":' + value + b"}")
    with pytest.raises(FrameError):  # and where the slow look at an invalid request finds it
        decode_request(b'{"id":7,"op":"PING","unknown":' + value + b"}")


@pytest.mark.parametrize("digits", [b"1" * 5000, b"-" + b"9" * 5000, b"1e999", b"1" * 5000 + b".5"])
def test_a_number_that_is_out_of_range_is_refused(digits: bytes) -> None:
    answer = decode_request(apply_event(digits))
    assert isinstance(answer, InvalidRequest)
    assert answer.id == "7"
    assert "out of range" in answer.message
    for field in (b"id", b"op"):
        answer = decode_request(b'{"%s":%s}' % (field, digits))
        assert isinstance(answer, InvalidRequest)
        assert answer.message.startswith(field.decode() + ": ")


def test_integers_beyond_sixty_four_bits_are_kept_exactly() -> None:
    for value in (2**63, 2**64, -(2**64), 10**300):
        decoded = decode_request(apply_event(str(value).encode()))
        assert isinstance(decoded, Request)
        assert decoded.params.payload == {"x": value}


def test_of_duplicate_keys_the_last_one_counts() -> None:
    decoded = decode_request(
        b'{"id":"1","op":"PING","params":{"instance_id":"a","instance_id":"b"},'
        b'"op":"GET_INSTANCE","id":"2"}'
    )
    assert isinstance(decoded, Request)
    assert (decoded.op, decoded.id, decoded.params.instance_id) == ("GET_INSTANCE", "2", "b")


@pytest.mark.parametrize("rest", [b"x", b"{}", b",", b"\0", b'{"id":"2","op":"PING"}', b" 1"])
def test_data_after_the_message_ends_the_connection(rest: bytes) -> None:
    with pytest.raises(FrameError, match="trailing"):
        decode_request(b'{"id":"1","op":"PING"}' + rest)


def test_white_space_around_the_message_is_allowed() -> None:
    assert isinstance(decode_request(b' \t\r\n{"id":"1","op":"PING"} \n'), Request)


def test_a_byte_order_mark_is_no_json() -> None:
    with pytest.raises(FrameError):
        decode_request(b'\xef\xbb\xbf{"id":"1","op":"PING"}')


def test_params_of_a_batch_operation_decode_like_those_of_a_request() -> None:
    for op, params in MINIMAL.items():
        raw = msgspec.Raw(json.dumps(params).encode())
        assert decode_params(op, raw) == request(op, params).params
    assert decode_params("PING", msgspec.Raw(b"null")) == NoParams()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (b"{}", "GET_INSTANCE: params: object missing required field instance_id"),
        (b"null", "GET_INSTANCE: params: object missing required field instance_id"),
        (b'{"instance_id":1}', "GET_INSTANCE: params.instance_id: expected str, got int"),
        (b'{"instance_id":"\xff"}', "GET_INSTANCE: params: not JSON: "),
        (b"{", "GET_INSTANCE: params: not JSON: "),
        (b'{"x":' + b"[" * 100_000, "GET_INSTANCE: params: nested too deeply to be read"),
    ],
    ids=["missing", "null", "mistyped", "utf8", "cut", "nested"],
)
def test_params_that_cannot_be_decoded_never_interrupt_a_batch(params: bytes, message: str) -> None:
    answer = decode_params("GET_INSTANCE", msgspec.Raw(params))
    assert isinstance(answer, InvalidRequest)
    assert answer.message.startswith(message)


def check_total(payload: bytes) -> None:
    try:
        decoded = decode_request(payload)
    except FrameError:
        return
    if isinstance(decoded, Request):
        assert len(decoded.id.encode()) <= 256
        assert type(decoded.params) is received_type(decoded.op)
    else:
        assert decoded.message


@given(st.binary(max_size=200))
def test_decoding_any_bytes_raises_nothing_but_frame_errors(payload: bytes) -> None:
    check_total(payload)


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(OPERATIONS)),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_decoding_mutated_requests_raises_nothing_but_frame_errors(
    op: str, mutations: list[tuple[int, bytes]]
) -> None:
    payload = (GOLDEN / f"{op}.jsonl").read_bytes().splitlines()[0]
    for at, piece in mutations:
        at %= len(payload)
        payload = payload[:at] + piece + payload[at + len(piece) // 2 :]
    check_total(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "op", "params", "type", "meta"]),
        JSON | st.sampled_from(sorted(OPERATIONS)) | st.just("request"),
    )
)
def test_decoding_any_envelope_raises_nothing_but_frame_errors(envelope: dict[str, Any]) -> None:
    check_total(json.dumps(envelope).encode())
