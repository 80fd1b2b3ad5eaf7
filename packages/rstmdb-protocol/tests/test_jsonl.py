from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstmdb_protocol import (
    MAX_PAYLOAD_BYTES,
    FrameError,
    LocalProtocolError,
    WireMode,
    encode_json,
    encode_line,
)
from rstmdb_protocol._buffer import ReceiveBuffer

GOLDEN = Path(__file__).parent / "golden"


def lines(data: bytes, limit: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    buffer = ReceiveBuffer(WireMode.JSONL, limit)
    buffer.feed(data)
    return list(buffer.messages(bytes))


def test_a_line_is_byte_for_byte_the_golden_one() -> None:
    golden = (GOLDEN / "ping.line").read_bytes()
    assert encode_line(b'{"type":"request","id":"1","op":"PING","params":{}}') == golden
    assert lines(golden) == [golden[:-1]]


def test_a_line_may_end_as_on_windows() -> None:
    assert lines(b'{"a":1}\r\n{"b":2}\n') == [b'{"a":1}', b'{"b":2}']


def test_blank_lines_are_skipped() -> None:
    assert lines(b"{}\n\n\r\n \t \n{}\n") == [b"{}", b"{}"]


def test_a_line_break_between_two_tokens_does_not_end_the_message() -> None:
    line = encode_line(b'{\n  "a": "x\\ny"\n}')
    assert line.count(b"\n") == 1
    assert lines(line) == [b'{   "a": "x\\ny" }']


@given(st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x, max_size=3)))
def test_no_json_value_holds_a_line_break_on_the_wire(value: object) -> None:
    message = encode_json({"value": value})
    assert lines(encode_line(message) * 2) == [message, message]


def test_a_line_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert lines(b"x" * 100 + b"\n", limit=100) == [b"x" * 100]
    with pytest.raises(FrameError, match="over the limit of 100 bytes"):
        lines(b"x" * 101 + b"\n", limit=100)


def test_a_line_without_end_is_refused_once_it_is_over_the_limit() -> None:
    buffer = ReceiveBuffer(WireMode.JSONL, 100)
    for _ in range(10):
        buffer.feed(b"x" * 10)
        assert list(buffer.messages(bytes)) == []
    buffer.feed(b"x")
    with pytest.raises(FrameError, match="over the limit of 100 bytes"):
        list(buffer.messages(bytes))


def test_a_message_above_sixteen_mebibytes_makes_no_line() -> None:
    assert len(encode_line(bytes(MAX_PAYLOAD_BYTES))) == MAX_PAYLOAD_BYTES + 1
    with pytest.raises(LocalProtocolError, match="16777217 bytes"):
        encode_line(bytes(MAX_PAYLOAD_BYTES + 1))
