import time

import pytest

from rstmdb_protocol import MAX_PAYLOAD_BYTES, FrameError, WireMode, encode_frame
from rstmdb_protocol._buffer import ReceiveBuffer

MESSAGES = [b'{"id":"1"}', b"{}", b'{"id":"' + b"x" * 200 + b'"}']


def test_frames_fed_byte_by_byte_come_out_as_soon_as_they_are_whole() -> None:
    buffer = ReceiveBuffer()
    stream = b"".join(encode_frame(message) for message in MESSAGES)
    seen: list[tuple[int, bytes]] = []
    for at in range(len(stream)):
        buffer.feed(stream[at : at + 1])
        seen += [(at, payload) for payload in buffer.messages(bytes)]
    ends = [sum(len(encode_frame(m)) for m in MESSAGES[: n + 1]) - 1 for n in range(len(MESSAGES))]
    assert seen == list(zip(ends, MESSAGES, strict=True))


def test_lines_fed_byte_by_byte_come_out_at_their_line_breaks() -> None:
    buffer = ReceiveBuffer()
    seen: list[bytes] = []
    for byte in b"\n".join(MESSAGES) + b"\n":
        buffer.feed(bytes([byte]))
        seen += buffer.messages(bytes)
    assert seen == MESSAGES
    assert buffer.mode is WireMode.JSONL


def test_trailing_data_waits_for_its_rest() -> None:
    buffer = ReceiveBuffer()
    frame = encode_frame(MESSAGES[0])
    buffer.feed(frame + frame[:20])
    assert list(buffer.messages(bytes)) == MESSAGES[:1]
    assert buffer.pending_bytes == 20
    assert list(buffer.messages(bytes)) == []
    buffer.feed(frame[20:])
    assert list(buffer.messages(bytes)) == MESSAGES[:1]
    assert buffer.pending_bytes == 0


def test_nothing_is_yielded_of_no_bytes() -> None:
    buffer = ReceiveBuffer()
    assert list(buffer.messages(bytes)) == []
    buffer.feed(b"")
    assert list(buffer.messages(bytes)) == []
    assert buffer.mode is None


@pytest.mark.parametrize(
    ("first", "mode"),
    [(b"{", WireMode.JSONL), (b"R", WireMode.BINARY_JSON)],
)
def test_the_first_byte_tells_the_mode(first: bytes, mode: WireMode) -> None:
    buffer = ReceiveBuffer()
    buffer.feed(first)
    assert list(buffer.messages(bytes)) == []
    assert buffer.mode is mode


@pytest.mark.parametrize("first", [b" {}\n", b"\n{}\n", b"[]\n", b"\x00"])
def test_any_other_first_byte_is_no_frame(first: bytes) -> None:
    buffer = ReceiveBuffer()
    buffer.feed(first)
    with pytest.raises(FrameError, match="bad magic"):
        list(buffer.messages(bytes))


def test_the_mode_can_switch_between_two_messages_of_one_chunk() -> None:
    buffer = ReceiveBuffer(WireMode.BINARY_JSON)
    buffer.feed(encode_frame(b"1") + b"{2}\n" + encode_frame(b"3") + b"{4}\nR")
    seen = []
    for payload in buffer.messages(bytes):
        seen.append(payload)
        buffer.mode = (
            WireMode.JSONL if buffer.mode is WireMode.BINARY_JSON else WireMode.BINARY_JSON
        )
    assert seen == [b"1", b"{2}", b"3", b"{4}"]


@pytest.mark.parametrize("mode", list(WireMode))
def test_an_iteration_that_was_given_up_goes_on_where_it_stopped(mode: WireMode) -> None:
    jsonl = mode is WireMode.JSONL
    one, two, three = (m + b"\n" if jsonl else encode_frame(m) for m in MESSAGES)
    buffer = ReceiveBuffer(mode)
    buffer.feed(one + two)
    assert next(buffer.messages(bytes)) == MESSAGES[0]
    buffer.feed(three[:5])  # no message ends in this chunk, but one was waiting
    assert list(buffer.messages(bytes)) == [MESSAGES[1]]
    buffer.feed(three[5:])
    assert list(buffer.messages(bytes)) == [MESSAGES[2]]


@pytest.mark.parametrize("mode", list(WireMode))
def test_a_large_message_in_small_chunks_is_read_in_linear_time(mode: WireMode) -> None:
    content = b"x" * (MAX_PAYLOAD_BYTES - 2)
    message = b"{" + content + b"}"
    data = message + b"\n" if mode is WireMode.JSONL else encode_frame(message)
    chunks = [data[at : at + 16384] for at in range(0, len(data), 16384)]
    buffer = ReceiveBuffer()
    seen: list[bytes] = []
    started = time.perf_counter()
    for chunk in chunks:
        buffer.feed(chunk)
        seen += buffer.messages(bytes)
    assert time.perf_counter() - started < 1
    assert seen == [message]


def test_many_small_messages_of_one_chunk_are_read_in_linear_time() -> None:
    frames = encode_frame(b"{}") * 100_000
    buffer = ReceiveBuffer()
    started = time.perf_counter()
    buffer.feed(frames)
    assert sum(1 for _ in buffer.messages(bytes)) == 100_000
    assert time.perf_counter() - started < 2
