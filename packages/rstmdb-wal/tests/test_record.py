from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from rstmdb_wal import MAX_PAYLOAD_BYTES, UnknownFormat, make_offset, split_offset
from rstmdb_wal._record import (
    FLAG_MORE,
    FLAG_OURS,
    HEADER_BYTES,
    compress,
    crc_seed,
    decode_at,
    decompress,
    encode,
)
from rstmdb_wal._segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    decode_header,
    encode_header,
    segment_id_of,
    segment_name,
)

GOLDEN = Path(__file__).parent / "golden"
DATABASE = bytes(range(16))
SEED = crc_seed(DATABASE)


def golden(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / name).read_text())


def test_a_record_has_the_bytes_that_the_golden_file_pins() -> None:
    assert encode(3, FLAG_OURS | FLAG_MORE, 7, 1234, b"payload", SEED) == golden("record.hex")


def test_a_segment_header_has_the_bytes_that_the_golden_file_pins() -> None:
    header = SegmentHeader(DATABASE, 5, 1234, make_offset(4, 4711))
    assert encode_header(header) == golden("segment-header.hex")
    assert len(golden("segment-header.hex")) == SEGMENT_HEADER_BYTES


def test_a_segment_header_is_the_message_pack_map_that_it_says() -> None:
    header = SegmentHeader(DATABASE, 5, 1234, make_offset(4, 4711))
    assert msgpack.unpackb(encode_header(header)[HEADER_BYTES:]) == {
        "format": 1,
        "database_id": DATABASE,
        "segment_id": 5,
        "first_sequence": 1234,
        "previous_offset": make_offset(4, 4711),
    }
    assert decode_header(encode_header(header), "x") == header


def test_the_checksum_is_the_one_that_the_format_describes() -> None:
    record = encode(3, 1, 1, 1, b"payload", SEED)
    covered = record[4:12] + record[16:24] + b"payload"
    assert int.from_bytes(record[12:16], "big") == crc32c(covered, crc32c(DATABASE))


@given(
    kind=st.integers(1, 7),
    gap=st.integers(1, 65535),
    sequence=st.integers(1, 2**64 - 1),
    payload=st.binary(max_size=300),
    before=st.binary(max_size=20),
    after=st.binary(max_size=20),
)
def test_a_record_comes_back_whatever_surrounds_it(
    kind: int, gap: int, sequence: int, payload: bytes, before: bytes, after: bytes
) -> None:
    data = before + encode(kind, FLAG_OURS, gap, sequence, payload, SEED) + after
    raw = decode_at(data, len(before), 100, SEED, legacy=False)
    assert raw is not None
    assert (raw.kind, raw.gap, raw.sequence, raw.stored) == (kind, gap, sequence, payload)
    assert raw.end == 100 + HEADER_BYTES + len(payload)


def test_every_flipped_bit_of_a_record_is_caught() -> None:
    record = encode(3, FLAG_OURS, 1, 99, b"some payload", SEED)
    for bit in range(len(record) * 8):
        broken = bytearray(record)
        broken[bit // 8] ^= 1 << bit % 8
        assert decode_at(bytes(broken), 0, 0, SEED, legacy=False) is None
        assert decode_at(bytes(broken), 0, 0, 0, legacy=True) is None


def test_every_flipped_bit_of_a_segment_header_is_caught() -> None:
    record = encode_header(SegmentHeader(DATABASE, 5, 1234, 9))
    for bit in range(len(record) * 8):
        broken = bytearray(record)
        broken[bit // 8] ^= 1 << bit % 8
        assert decode_header(bytes(broken), "x") is None


def test_a_record_of_another_database_is_not_readable() -> None:
    record = encode(3, FLAG_OURS, 1, 99, b"some payload", crc_seed(bytes(16)))
    assert decode_at(record, 0, 0, SEED, legacy=False) is None


def test_a_lying_length_is_not_followed() -> None:
    record = bytearray(encode(3, FLAG_OURS, 1, 99, b"some payload", SEED))
    record[8:12] = (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big")
    assert decode_at(bytes(record), 0, 0, SEED, legacy=False) is None


def test_a_higher_format_version_is_named_as_such() -> None:
    payload = bytearray(encode_header(SegmentHeader(DATABASE, 5, 1234, 9))[HEADER_BYTES:])
    payload[9] = 2
    with pytest.raises(UnknownFormat, match="newer release"):
        decode_header(encode(255, FLAG_OURS, 0, 0, bytes(payload), 0), "x")


def test_compression_comes_back_and_nothing_else_does() -> None:
    assert decompress(compress(b"abc" * 5000)) == b"abc" * 5000
    for bad in (b"", b"abc", compress(bytes(MAX_PAYLOAD_BYTES + 1)), compress(b"abc" * 99)[:-5]):
        with pytest.raises(ValueError, match="compressed"):
            decompress(bad)


@given(segment=st.integers(1, 2**64 - 1), position=st.integers(0, 2**40 - 1))
def test_offsets_and_names_come_back(segment: int, position: int) -> None:
    assert split_offset(make_offset(segment, position)) == (segment, position)
    assert segment_id_of(segment_name(segment)) == segment


@pytest.mark.parametrize("name", ["1.wal", "00000000000000G1.wal", "0000000000000001.wal.1.broken"])
def test_other_names_are_no_segments(name: str) -> None:
    assert segment_id_of(name) is None
