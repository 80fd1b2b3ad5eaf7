import struct
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_protocol import (
    FLAG_COMPRESSED,
    FLAG_CRC_PRESENT,
    FLAG_END_STREAM,
    FLAG_STREAM,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    ErrorCode,
    FrameError,
    LocalProtocolError,
    RemoteProtocolError,
    ServerConnection,
    VersionError,
    encode_frame,
)
from rstmdb_protocol._buffer import ReceiveBuffer
from rstmdb_protocol._frame import parse_header

GOLDEN = Path(__file__).parent / "golden"
PING = b'{"type":"request","id":"1","op":"PING","params":{}}'


def header(
    size: int,
    *,
    magic: bytes = b"RCPX",
    version: int = 1,
    flags: int = FLAG_CRC_PRESENT,
    extension: int = 0,
    checksum: int = 0,
) -> bytes:
    return struct.pack(">4sHHHII", magic, version, flags, extension, size, checksum)


def payloads(data: bytes, *, zstd: bool = False, limit: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    buffer = ReceiveBuffer(None, limit)
    buffer.allow_compressed = zstd
    buffer.feed(data)
    return list(buffer.messages(bytes))


def refused(data: bytes, *, zstd: bool = False, limit: int = MAX_PAYLOAD_BYTES) -> str:
    with pytest.raises(FrameError) as caught:
        payloads(data, zstd=zstd, limit=limit)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    return str(caught.value)


def compressed(content: bytes, *, declared: bool = True) -> bytes:
    if declared:
        return zstandard.ZstdCompressor(level=1).compress(content)
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    return compressor.compress(content) + compressor.flush()


def test_a_plain_frame_is_byte_for_byte_the_golden_one() -> None:
    golden = (GOLDEN / "ping.frame").read_bytes()
    assert encode_frame(PING) == golden
    assert payloads(golden) == [PING]


def test_the_golden_compressed_frame_decodes_to_its_message() -> None:
    golden = (GOLDEN / "apply_event.zstd.frame").read_bytes()
    [payload] = payloads(golden, zstd=True)
    assert payload.startswith(b'{"type":"request","id":"1","op":"APPLY_EVENT"')
    assert payload.count(b"rstmdb ") == 1000
    assert len(golden) < 300


def test_every_frame_carries_the_crc_of_its_payload() -> None:
    for flags in (0, FLAG_STREAM, FLAG_END_STREAM, FLAG_COMPRESSED):
        _, _, sent, extension, size, checksum = struct.unpack_from(
            ">4sHHHII", encode_frame(b"abc", flags)
        )
        assert (sent, extension, size) == (flags | FLAG_CRC_PRESENT, 0, 3)
        assert checksum == crc32c(b"abc")


def test_a_message_above_sixteen_mebibytes_is_not_framed() -> None:
    assert len(encode_frame(bytes(MAX_PAYLOAD_BYTES))) == MAX_PAYLOAD_BYTES + HEADER_BYTES
    with pytest.raises(LocalProtocolError, match="16777217 bytes"):
        encode_frame(bytes(MAX_PAYLOAD_BYTES + 1))


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 2400), max_size=8))
def test_any_frames_cut_anywhere_come_out_as_they_went_in(
    messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(encode_frame(message) for message in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    buffer = ReceiveBuffer()
    seen: list[bytes] = []
    for start, stop in pairwise(edges):
        buffer.feed(stream[start:stop])
        seen += buffer.messages(bytes)
    assert seen == messages
    assert buffer.pending_bytes == 0


def test_an_extension_of_the_header_is_skipped() -> None:
    for extension in (1, 18, 65535):
        data = header(len(PING), extension=extension, checksum=crc32c(PING))
        assert payloads((data + b"\xff" * extension + PING) * 2) == [PING, PING]


def test_a_frame_without_crc_flag_is_not_checked() -> None:
    assert payloads(header(len(PING), flags=0, checksum=7) + PING) == [PING]


def test_stream_flags_do_not_change_what_is_read() -> None:
    assert payloads(encode_frame(PING, FLAG_STREAM | FLAG_END_STREAM)) == [PING]


def test_bad_magic_is_refused_with_the_bytes_that_were_found() -> None:
    assert "bad magic b'HTTP'" in refused(header(0, magic=b"HTTP"))
    for start, guess in (
        (b"HTTP", "HTTP"),
        (b"GET ", "HTTP"),
        (b"\x16\x03\x01\x02", "TLS, which is not spoken here"),
        (b"\x15\x03\x03\x00", "TLS: connect with it"),
    ):
        assert refused(header(0, magic=start)).endswith(f"and this looks like {guess}")
    assert "looks like" not in refused(header(0, magic=b"RCPY"))
    with pytest.raises(FrameError, match="looks like JSON lines, but HELLO chose frames"):
        parse_header(header(0, magic=b'{"ty'), 0, MAX_PAYLOAD_BYTES)


def test_bad_magic_is_refused_before_a_whole_header_is_there() -> None:
    assert "bad magic b'GET '" in refused(b"GET / HTTP")
    assert "bad magic b'\\x16\\x03\\x01'" in refused(b"\x16\x03\x01")


@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_another_version_is_an_unsupported_protocol(version: int) -> None:
    with pytest.raises(VersionError, match=rf"version {version} is not supported") as caught:
        payloads(header(0, version=version))
    assert caught.value.code is ErrorCode.UNSUPPORTED_PROTOCOL


@pytest.mark.parametrize("bit", range(4, 16))
def test_every_unknown_flag_bit_is_refused(bit: int) -> None:
    message = refused(header(0, flags=FLAG_CRC_PRESENT | 1 << bit))
    assert f"unknown flag bits {1 << bit:#06x}" in message


def test_oversize_is_refused_from_the_header_alone() -> None:
    assert "16777217 bytes is over the limit of 16777216" in refused(header(MAX_PAYLOAD_BYTES + 1))
    assert "4294967295 bytes" in refused(header(0xFFFFFFFF))
    assert "is over the limit of 100 bytes" in refused(header(101), limit=100)


def test_a_header_that_promises_much_takes_no_memory() -> None:
    tracemalloc.start()
    buffer = ReceiveBuffer()
    buffer.feed(header(MAX_PAYLOAD_BYTES) + b"x")
    assert list(buffer.messages(bytes)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_a_wrong_crc_is_refused_with_both_values() -> None:
    frame = bytearray(encode_frame(PING))
    frame[-1] ^= 1
    message = refused(bytes(frame))
    assert f"{crc32c(PING):08x}" in message
    assert f"{crc32c(frame[HEADER_BYTES:]):08x}" in message


def test_the_crc_of_a_compressed_frame_is_checked_before_it_is_decompressed() -> None:
    frame = bytearray(encode_frame(compressed(PING), FLAG_COMPRESSED))
    frame[-1] ^= 1
    assert "CRC mismatch" in refused(bytes(frame), zstd=True)


def test_a_compressed_frame_is_refused_unless_zstd_was_agreed() -> None:
    frame = encode_frame(compressed(PING), FLAG_COMPRESSED)
    assert "zstd was not agreed" in refused(frame)
    assert payloads(frame, zstd=True) == [PING]


@pytest.mark.parametrize("declared", [True, False])
def test_a_decompression_bomb_is_refused_without_taking_its_memory(declared: bool) -> None:
    bomb = compressed(bytes(256 * 1024 * 1024), declared=declared)
    assert len(bomb) < 100_000
    frame = encode_frame(bomb, FLAG_COMPRESSED)
    tracemalloc.start()
    message = refused(frame, zstd=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "of at most 16777216" in message or "268435456 bytes is over the limit" in message
    assert peak < MAX_PAYLOAD_BYTES + 1_000_000


@pytest.mark.parametrize("declared", [True, False])
def test_content_of_exactly_the_limit_passes_and_one_byte_more_does_not(declared: bool) -> None:
    for limit in (1000, MAX_PAYLOAD_BYTES):
        fits = encode_frame(compressed(bytes(limit), declared=declared), FLAG_COMPRESSED)
        over = encode_frame(compressed(bytes(limit + 1), declared=declared), FLAG_COMPRESSED)
        assert payloads(fits, zstd=True, limit=limit) == [bytes(limit)]
        assert str(limit) in refused(over, zstd=True, limit=limit)


def test_a_declared_size_that_lies_is_refused() -> None:
    honest = compressed(bytes(1000))
    declared = honest.index(struct.pack("<H", 1000 - 256))
    for lie in (999, 1001, 60_000):
        lying = honest[:declared] + struct.pack("<H", lie - 256) + honest[declared + 2 :]
        refused(encode_frame(lying, FLAG_COMPRESSED), zstd=True)


@pytest.mark.parametrize("declared", [True, False])
def test_nothing_may_follow_or_be_missing_from_the_one_zstd_frame(declared: bool) -> None:
    whole = compressed(PING * 100, declared=declared)
    for wrong in (whole + b"x", whole + whole, *(whole[:cut] for cut in range(len(whole)))):
        assert "not one zstd frame" in refused(encode_frame(wrong, FLAG_COMPRESSED), zstd=True)


def test_a_zstd_frame_within_a_zstd_frame_is_unpacked_once() -> None:
    inner = compressed(PING)
    frame = encode_frame(compressed(inner), FLAG_COMPRESSED)
    assert payloads(frame, zstd=True) == [inner]


def test_a_window_above_the_limit_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    wide = compressor.compress(PING) + compressor.flush()
    assert "not one zstd frame" in refused(encode_frame(wide, FLAG_COMPRESSED), zstd=True)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(1, 200),
)
def test_mutated_frames_decode_or_raise_a_remote_protocol_error(
    mutations: list[tuple[int, int]], zstd: bool, piece: int
) -> None:
    stream = bytearray(encode_frame(PING) + (GOLDEN / "apply_event.zstd.frame").read_bytes())
    for at, value in mutations:
        stream[at % len(stream)] = value
    connection = ServerConnection()
    connection.switch(connection.mode, ["zstd"] if zstd else [])
    with suppress(RemoteProtocolError):
        for start in range(0, len(stream), piece):
            connection.feed(bytes(stream[start : start + piece]))
            for request in connection.requests():
                assert request.id is None or len(request.id) <= 256
