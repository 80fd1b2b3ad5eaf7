"""The original's directories: read as they are, never written."""

import json

import pytest
from crc32c import crc32c

from rstmdb_wal import LogDamaged, UnknownFormat, make_offset, split_offset
from rstmdb_wal._record import HEADER, MAGIC
from rstmdb_wal.testing import SimulatedFileSystem, open_log

FIRST = "/data/wal/0000000000000001.wal"
SECOND = "/data/wal/0000000000000002.wal"


def record(sequence: int, kind: int = 3, text: str = "") -> bytes:
    payload = json.dumps({"type": "apply_event", "event": text, "n": sequence}).encode()
    return HEADER.pack(MAGIC, kind, 0, 0, len(payload), crc32c(payload), sequence) + payload


def directory(*segments: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    fs.mkdir_now("/data/wal")
    for number, content in enumerate(segments, 1):
        fs.poke(f"/data/wal/{number:016x}.wal", content)
    return fs


def run(*sequences: int) -> bytes:
    return b"".join(record(n) for n in sequences)


def test_its_records_are_read_and_writing_goes_on_in_a_segment_of_ours() -> None:
    fs = directory(run(1, 2, 3), run(4, 5))
    before = fs.peek(FIRST), fs.peek(SECOND)
    opened = open_log(fs)
    assert [r.sequence for r in opened.records] == [1, 2, 3, 4, 5]
    assert all(r.legacy and not r.more for r in opened.records)
    assert opened.records[0].offset == make_offset(1, 0)
    assert json.loads(opened.records[4].payload)["n"] == 5
    assert opened.report.legacy_records == 5
    offset = opened.log.append(3, b"ours")
    assert split_offset(offset)[0] == 3
    opened.log.flush()
    assert [r.legacy for r in opened.log.read(0)] == [True] * 5 + [False]
    assert (fs.peek(FIRST), fs.peek(SECOND)) == before
    again = open_log(fs.power_loss())
    assert [r.sequence for r in again.records] == [1, 2, 3, 4, 5, 6]
    assert again.log.database_id == opened.log.database_id


def test_a_log_that_it_compacted_begins_where_it_begins() -> None:
    opened = open_log(directory(run(101, 102)))
    assert [r.sequence for r in opened.records] == [101, 102]
    assert opened.log.next_sequence == 103
    assert opened.log.earliest == make_offset(1, 0)


@pytest.mark.parametrize("cut", [1, 10, 30, 60])
def test_a_torn_fragment_behind_which_it_went_on_is_skipped(cut: int) -> None:
    fragment = record(3)[:-cut]
    opened = open_log(directory(run(1, 2) + fragment + run(3, 4), run(5)))
    assert [r.sequence for r in opened.records] == [1, 2, 3, 4, 5]
    assert opened.report.skipped_fragments == 1
    assert opened.report.torn_bytes == 0
    assert [r.sequence for r in opened.log.read(0)] == [1, 2, 3, 4, 5]


def test_a_torn_fragment_at_the_end_of_a_closed_segment_is_skipped_if_nothing_is_missing() -> None:
    fragment = record(3)[:-5]
    opened = open_log(directory(run(1, 2) + fragment, run(3, 4)))
    assert [r.sequence for r in opened.records] == [1, 2, 3, 4]
    assert [r.sequence for r in opened.log.read(0)] == [1, 2, 3, 4]
    with pytest.raises(LogDamaged):
        open_log(directory(run(1, 2) + fragment, run(4)))


def test_a_torn_tail_of_its_last_segment_is_cut() -> None:
    fs = directory(run(1, 2) + record(3)[:-5])
    opened = open_log(fs)
    assert [r.sequence for r in opened.records] == [1, 2]
    assert opened.report.broken_file is not None
    assert fs.peek(FIRST) == run(1, 2)
    opened.log.append(3, b"ours")
    opened.log.flush()
    assert [r.sequence for r in open_log(fs.crash()).records] == [1, 2, 3]


def test_damage_before_a_higher_sequence_is_refused() -> None:
    broken = bytearray(record(3))
    broken[-3] ^= 1
    with pytest.raises(LogDamaged) as caught:
        open_log(directory(run(1, 2) + bytes(broken) + run(4, 5)))
    assert caught.value.sequence == 3
    assert caught.value.offset == make_offset(1, len(run(1, 2)))
    with pytest.raises(LogDamaged, match="missing"):
        open_log(directory(run(1, 2), run(4)))
    with pytest.raises(LogDamaged):
        open_log(directory(run(1, 2), run(2, 3)))


def test_record_bytes_inside_a_text_are_escaped_and_so_never_found() -> None:
    inner = record(3).decode("latin-1")
    outer = record(3, text=inner)
    opened = open_log(directory(run(1, 2) + outer[:-1] + run(3, 4)))
    assert [json.loads(r.payload)["event"] for r in opened.records] == [""] * 4


def test_an_empty_or_preallocated_segment_is_no_damage() -> None:
    assert len(open_log(directory(run(1, 2), b"")).records) == 2
    assert len(open_log(directory(run(1, 2) + bytes(5000))).records) == 2
    assert len(open_log(directory(run(1, 2) + bytes(5000), bytes(100), run(3))).records) == 3


def test_its_records_do_not_count_in_a_segment_of_ours_nor_ours_in_its() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"ours")
    log.flush()
    ours = fs.peek(FIRST)
    fs.poke(FIRST, ours + record(2))
    assert len(open_log(fs.crash()).records) == 1
    tail = ours[-28:]
    opened = open_log(directory(run(1) + tail))
    assert len(opened.records) == 1
    assert opened.report.torn_bytes == len(tail)


def test_an_unknown_type_with_a_good_checksum_is_refused_as_newer() -> None:
    with pytest.raises(UnknownFormat):
        open_log(directory(run(1) + record(2, kind=9)))
