"""What start-up takes for a torn write, and what for damage."""

import random

import pytest

from rstmdb_wal import (
    FsyncPolicy,
    LogDamaged,
    LogMisused,
    LogOptions,
    Recovery,
    UnknownFormat,
    make_offset,
    split_offset,
)
from rstmdb_wal._record import FLAG_OURS, crc_seed, encode
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES, SegmentHeader, encode_header
from rstmdb_wal.testing import SimulatedFileSystem, open_log

SMALL = LogOptions(preallocate_bytes=0, segment_bytes=1024, compress_from_bytes=0)
NEVER = LogOptions(preallocate_bytes=0, policy=FsyncPolicy.never(), compress_from_bytes=0)
SKIP = LogOptions(
    preallocate_bytes=0, segment_bytes=1024, compress_from_bytes=0, recovery="skip_corrupt"
)
FIRST = "/data/wal/0000000000000001.wal"
SECOND = "/data/wal/0000000000000002.wal"


def written(
    count: int, *, flushes: bool = True, options: LogOptions = SMALL, size: int = 20
) -> tuple[SimulatedFileSystem, list[int]]:
    """A log of ``count`` records, each flushed by itself or all at once; and their offsets."""
    fs = SimulatedFileSystem()
    log = open_log(fs, options).log
    offsets = []
    for n in range(count):
        offsets.append(log.append(3, bytes([65 + n]) * size))
        if flushes:
            log.flush()
    log.flush()
    return fs, offsets


def test_a_last_record_cut_at_any_byte_is_torn_and_the_rest_is_there() -> None:
    fs, offsets = written(3)
    whole = fs.peek(FIRST)
    last = split_offset(offsets[-1])[1]
    for size in range(last + 1, len(whole)):
        cut = fs.crash()
        cut.poke(FIRST, whole[:size])
        opened = open_log(cut)
        assert [r.sequence for r in opened.records] == [1, 2]
        assert opened.report.torn_bytes == size - last
        assert opened.report.broken_file == "0000000000000001.wal.1.broken"
        assert cut.peek(f"{FIRST}.1.broken") == whole[last:size]
        assert cut.peek(FIRST) == whole[:last]
        offset = opened.log.append(3, b"new")
        assert offset > make_offset(2, 0)
        assert opened.log.next_sequence == 4
        opened.log.flush()
        assert [r.sequence for r in open_log(cut.power_loss()).records] == [1, 2, 3]
        fs = cut.crash()
        fs.forget(SECOND)
        fs.forget(f"{FIRST}.1.broken")
        fs.poke(FIRST, whole)


@pytest.mark.parametrize("garbage", [b"\xff" * 7, b"WLOG", b"WLOG\x03\x01" + b"\0" * 60, b"\0\0x"])
def test_garbage_after_the_last_record_is_cut(garbage: bytes) -> None:
    fs, _ = written(3)
    fs.poke(FIRST, fs.peek(FIRST) + garbage)
    opened = open_log(fs.crash())
    assert len(opened.records) == 3
    assert opened.report.torn_bytes == len(garbage)


@pytest.mark.parametrize("count", [1, 23, 24, 4096, 100_000])
def test_zeros_after_the_last_record_are_no_damage(count: int) -> None:
    fs, _ = written(3)
    fs.poke(FIRST, fs.peek(FIRST) + bytes(count))
    fs = fs.crash()
    opened = open_log(fs)
    assert len(opened.records) == 3
    assert (opened.report.torn_bytes, opened.report.broken_file) == (0, None)
    opened.log.append(3, b"more")
    opened.log.flush()
    fs.poke(FIRST, fs.peek(FIRST) + bytes(count))
    assert len(open_log(fs.crash()).records) == 4


def test_each_copy_of_a_torn_tail_has_a_name_of_its_own() -> None:
    fs, _ = written(1)
    for n in range(1, 4):
        path = f"/data/wal/{n:016x}.wal"
        fs.poke(path, fs.peek(path) + b"torn")
        log = open_log(fs).log
        fs.poke(path, fs.peek(path) + b"again")
        fs = fs.crash()
        open_log(fs)
        log = open_log(fs).log
        log.append(3, b"next")
        log.flush()
        fs = fs.crash()
    broken = [name for name in fs.names("/data/wal") if name.endswith(".broken")]
    assert len(broken) == len(set(broken)) == 6


def test_every_flipped_bit_in_a_closed_segment_is_refused_by_file_offset_and_sequence() -> None:
    fs, offsets = written(3, options=SMALL, size=300)
    whole = fs.peek(FIRST)
    assert [split_offset(o)[0] for o in offsets] == [1, 1, 2]
    for bit in range(0, len(whole) * 8, 7):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        fs.poke(FIRST, bytes(broken))
        with pytest.raises(LogDamaged) as caught:
            list(Recovery("/data/wal", fs=fs))
        error = caught.value
        position = bit // 8
        start = (
            0
            if position < SEGMENT_HEADER_BYTES
            else max(split_offset(o)[1] for o in offsets[:2] if split_offset(o)[1] <= position)
        )
        assert error.path == FIRST
        assert error.offset == make_offset(1, start)
        assert error.sequence == (1 if start < split_offset(offsets[1])[1] else 2)
        for part in (FIRST, str(error.offset), f"sequence {error.sequence}", "repair"):
            assert part in str(error)


def test_every_flipped_bit_in_the_last_segment_is_refused_or_cut_never_believed() -> None:
    fs, offsets = written(4)
    whole = fs.peek(FIRST)
    last = split_offset(offsets[-1])[1]
    good = [bytes([65 + n]) * 20 for n in range(4)]
    for bit in range(len(whole) * 8):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        fs.poke(FIRST, bytes(broken))
        recovery = Recovery("/data/wal", fs=fs)
        if bit // 8 < last:  # a later record proves it
            with pytest.raises(LogDamaged):
                list(recovery)
        else:
            assert [r.payload for r in recovery] == good[:3]
            assert recovery.report.torn_bytes == len(whole) - last


def test_damage_that_no_later_record_proves_is_a_torn_write() -> None:
    fs, offsets = written(5, flushes=False)
    position = split_offset(offsets[2])[1]
    data = bytearray(fs.peek(FIRST))
    data[position + 30] ^= 1
    fs.poke(FIRST, bytes(data))
    opened = open_log(fs.crash())
    assert [r.sequence for r in opened.records] == [1, 2]
    assert opened.report.torn_bytes == len(data) - position


def test_a_gap_that_is_saturated_proves_nothing() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, NEVER).log
    for _ in range(66_000):
        log.append(3, b"")
    log.flush()
    log.append(3, b"last")
    log.flush()
    assert len(open_log(fs.crash()).records) == 66_001
    data = bytearray(fs.peek(FIRST))
    data[SEGMENT_HEADER_BYTES + 24 * 65_990] ^= 1
    fs.poke(FIRST, bytes(data))
    assert len(open_log(fs.crash()).records) == 65_990


@pytest.mark.parametrize("cut", [1, 5, 30, 60])
def test_a_torn_atomic_batch_is_wholly_gone(cut: int) -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"before")
    log.flush()
    log.begin_batch(atomic=True)
    start = split_offset(log.stage(3, b"one"))[1]
    log.stage(3, b"two")
    log.stage(3, b"three")
    log.commit_batch()
    log.flush()
    data = fs.peek(FIRST)
    for tail in (b"", bytes(10), b"garbage"):
        fs.poke(FIRST, data[:-cut] + tail)
        torn = fs.crash()
        opened = open_log(torn)
        assert [r.payload for r in opened.records] == [b"before"]
        assert opened.log.next_sequence == 2
        assert len(torn.peek(FIRST)) == start
        fs = torn


def test_a_batch_whose_end_is_missing_at_a_record_boundary_is_wholly_gone() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.begin_batch(atomic=True)
    log.stage(3, b"one")
    end = split_offset(log.next_offset)[1]
    log.stage(3, b"two")
    log.commit_batch()
    log.flush()
    fs.poke(FIRST, fs.peek(FIRST)[:end])
    opened = open_log(fs.crash())
    assert opened.records == []
    assert opened.report.torn_bytes == end - SEGMENT_HEADER_BYTES


def test_a_payload_that_holds_a_whole_record_torn_there_is_a_torn_write() -> None:
    fs, offsets = written(3)
    whole = fs.peek(FIRST)
    copied = whole[split_offset(offsets[2])[1] :]
    strangers = [
        encode(3, FLAG_OURS, 1, sequence, b"forged", seed)
        for sequence in range(4, 9)
        for seed in (0, crc_seed(bytes(16)), crc_seed(b"\xff" * 16))
    ]
    log = open_log(fs).log
    log.append(3, copied + b"".join(strangers) + copied * 3 + b"end")
    log.flush()
    fs = fs.crash()
    fs.poke(SECOND, fs.peek(SECOND)[:-1])
    opened = open_log(fs)
    assert len(opened.records) == 3
    assert opened.report.torn_bytes > 300


# Segments that are not what they should be


def test_a_missing_segment_is_refused() -> None:
    fs, offsets = written(9, size=300)
    assert split_offset(offsets[-1])[0] == 5
    fs.forget(SECOND)
    with pytest.raises(LogDamaged, match="records 3 to 4 are missing") as caught:
        open_log(fs.crash())
    assert caught.value.sequence == 3


def test_a_duplicated_or_swapped_segment_is_refused() -> None:
    fs, _ = written(9, size=300)
    first, second = fs.peek(FIRST), fs.peek(SECOND)
    fs.poke("/data/wal/0000000000000006.wal", second)
    with pytest.raises(LogDamaged, match="the file is segment 2, not 6"):
        open_log(fs.crash())
    fs = fs.crash()
    fs, _ = written(9, size=300)
    fs.poke(FIRST, second)
    fs.poke(SECOND, first)
    with pytest.raises(LogDamaged, match="the file is segment 2, not 1"):
        open_log(fs.crash())


def test_a_segment_of_another_database_is_refused() -> None:
    fs, _ = written(9, size=300)
    other, _ = written(9, size=300)
    stranger = SimulatedFileSystem(99)
    log = open_log(stranger, SMALL).log
    for _ in range(9):
        log.append(3, b"x" * 300)
    log.flush()
    assert other.peek(SECOND) != stranger.peek(SECOND)
    fs.poke(SECOND, stranger.peek(SECOND))
    with pytest.raises(LogDamaged, match="another database"):
        open_log(fs.crash())
    with pytest.raises(LogDamaged, match="another database"):
        open_log(stranger.crash(), database_id=bytes(16))


def test_a_segment_with_an_overwritten_header_is_refused() -> None:
    fs, _ = written(2)
    data = fs.peek(FIRST)
    fs.poke(FIRST, b"\xff" * SEGMENT_HEADER_BYTES + data[SEGMENT_HEADER_BYTES:])
    with pytest.raises(LogDamaged, match="unreadable segment header"):
        open_log(fs.crash())


def test_a_newer_format_is_refused_as_such() -> None:
    fs, _ = written(1)
    data = fs.peek(FIRST)
    payload = bytearray(data[24:SEGMENT_HEADER_BYTES])
    payload[9] = 2
    fs.poke(FIRST, encode(255, FLAG_OURS, 0, 0, bytes(payload), 0))
    with pytest.raises(UnknownFormat, match=r"format version 2.*newer release"):
        open_log(fs.crash())


@pytest.mark.parametrize(("kind", "flags"), [(8, 1), (200, 1), (3, 9), (3, 0x81)])
def test_a_newer_record_type_or_flag_is_refused_as_such(kind: int, flags: int) -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    record = encode(kind, flags, 1, 1, b"x", crc_seed(log.database_id))
    fs.poke(FIRST, fs.peek(FIRST) + record)
    with pytest.raises(UnknownFormat, match="newer release"):
        open_log(fs.crash())


def test_a_new_segment_with_a_torn_header_starts_and_its_offsets_are_not_reused() -> None:
    fs, offsets = written(3)
    header = encode_header(SegmentHeader(open_log(fs).log.database_id, 2, 4, offsets[-1]))
    for size in range(len(header)):
        for tail in (b"", bytes(20)):
            torn = fs.crash()
            torn.poke(SECOND, header[:size] + tail)
            opened = open_log(torn)
            assert len(opened.records) == 3
            assert opened.report.torn_bytes in (0, size + len(tail))
            assert torn.peek(SECOND) == header
            assert split_offset(opened.log.append(3, b"x"))[0] == 3
            opened.log.flush()
            assert len(open_log(torn.power_loss()).records) == 4
            fs = torn.crash()
            for name in fs.names("/data/wal"):
                if name != "0000000000000001.wal":
                    fs.forget(f"/data/wal/{name}")


def test_a_first_segment_that_was_never_written_starts() -> None:
    for content in (b"", bytes(50), b"WLO"):
        fs = SimulatedFileSystem()
        fs.mkdir_now("/data/wal")
        fs.poke(FIRST, content)
        opened = open_log(fs)
        assert opened.records == []
        opened.log.append(3, b"x")
        opened.log.flush()
        assert len(open_log(fs.power_loss()).records) == 1


# Behind a snapshot


def test_replay_starts_behind_the_snapshot_and_needs_nothing_before() -> None:
    fs, offsets = written(9, size=300)
    for after in range(1, 10):
        opened = open_log(fs.crash(), after=offsets[after - 1], after_sequence=after)
        assert [r.sequence for r in opened.records] == list(range(after + 1, 10))
        assert opened.log.next_sequence == 10
        assert opened.log.head == offsets[-1]
        fs, offsets = written(9, size=300)
    fs.forget(FIRST)
    fs.poke(SECOND, b"spoilt" * 100)
    opened = open_log(fs.crash(), after=offsets[4], after_sequence=5)
    assert [r.sequence for r in opened.records] == [6, 7, 8, 9]
    assert opened.report.unreadable_segments == [2]
    assert [r.sequence for r in opened.log.read(0)] == [5, 6, 7, 8, 9]


def test_the_segment_of_the_snapshot_itself_may_be_gone_but_not_the_next() -> None:
    fs, offsets = written(9, size=300)
    fs.forget(FIRST)
    opened = open_log(fs.crash(), after=offsets[1], after_sequence=2)
    assert [r.sequence for r in opened.records] == [3, 4, 5, 6, 7, 8, 9]
    fs, offsets = written(9, size=300)
    fs.forget(SECOND)
    with pytest.raises(LogDamaged, match="missing"):
        open_log(fs.crash(), after=offsets[1], after_sequence=2)


def test_a_log_that_ends_before_its_snapshot_is_refused() -> None:
    fs, offsets = written(9, size=300)
    for n in (3, 4, 5):
        fs.forget(f"/data/wal/{n:016x}.wal")
    with pytest.raises(LogDamaged, match="missing"):
        open_log(fs.crash(), after=offsets[-1], after_sequence=9)


def test_an_empty_directory_goes_on_behind_its_snapshot() -> None:
    fs = SimulatedFileSystem()
    recovery = Recovery(
        "/data/wal",
        fs=fs,
        after=make_offset(7, 500),
        after_sequence=42,
        min_segment=9,
        database_id=bytes(16),
    )
    assert list(recovery) == []
    log = recovery.finish()
    assert (log.next_sequence, log.head, split_offset(log.next_offset)[0]) == (
        43,
        make_offset(7, 500),
        9,
    )
    log.append(3, b"x")
    log.flush()
    opened = open_log(fs.crash(), after=make_offset(7, 500), after_sequence=42)
    assert [r.sequence for r in opened.records] == [43]


# Going on past damage


def test_skip_corrupt_goes_past_damage_and_counts_it() -> None:
    fs, offsets = written(9, size=300)
    data = bytearray(fs.peek(SECOND))
    data[SEGMENT_HEADER_BYTES + 30] ^= 1
    fs.poke(SECOND, bytes(data))
    fs.forget("/data/wal/0000000000000003.wal")
    fs = fs.crash()
    opened = open_log(fs, SKIP)
    assert [r.sequence for r in opened.records] == [1, 2, 4, 7, 8, 9]
    assert opened.report.skipped_records == 3
    assert 2 in opened.report.damaged_segments
    log = opened.log
    assert log.append(3, b"x") > offsets[-1]
    log.flush()
    assert log.move_aside(2) == "0000000000000002.wal.1.broken"
    assert "0000000000000002.wal.1.broken" in fs.names("/data/wal")
    after = open_log(fs.power_loss(), SMALL, after=offsets[-1], after_sequence=9)
    assert [r.sequence for r in after.records] == [10]


def test_skip_corrupt_goes_past_proven_damage_in_the_last_segment() -> None:
    fs, offsets = written(6)
    data = bytearray(fs.peek(FIRST))
    data[split_offset(offsets[2])[1] + 3] ^= 1
    fs.poke(FIRST, bytes(data))
    opened = open_log(fs.crash(), SKIP)
    assert [r.sequence for r in opened.records] == [1, 2, 4, 5, 6]
    assert opened.report.skipped_records == 1


def test_skip_corrupt_leaves_out_whole_segments_that_are_foreign() -> None:
    fs, _ = written(9, size=300)
    fs.poke(SECOND, fs.peek(FIRST))
    opened = open_log(fs.crash(), SKIP)
    assert [r.sequence for r in opened.records] == [1, 2, 5, 6, 7, 8, 9]
    assert opened.report.skipped_segments == [2]


def test_a_recovery_is_for_one_use_and_changes_nothing_before_its_finish() -> None:
    fs, _ = written(3)
    fs.poke(FIRST, fs.peek(FIRST) + b"torn")
    recovery = Recovery("/data/wal", fs=fs)
    with pytest.raises(LogMisused):
        recovery.finish()
    fs.tracing = True
    assert len(list(recovery)) == 3
    assert {c.operation for c in fs.trace} <= {
        "exists",
        "listdir",
        "open_read",
        "size",
        "pread",
        "close",
    }
    with pytest.raises(LogMisused):
        list(recovery)
    recovery.finish()
    with pytest.raises(LogMisused):
        recovery.finish()


def test_a_read_error_at_start_up_is_an_error_and_never_an_empty_log() -> None:
    for k in range(1, 6):
        for operation in ("pread", "open_read", "listdir", "size"):
            fs, _ = written(3)
            fs.inject(operation, k, 5, lasting=True)
            try:
                opened = open_log(fs)
            except OSError:
                continue
            assert len(opened.records) == 3


def test_skip_corrupt_leaves_a_foreign_last_segment_as_it_is() -> None:
    fs, _ = written(9, size=300)
    last = "/data/wal/0000000000000005.wal"
    fs.poke(last, fs.peek(SECOND))
    fs = fs.crash()
    opened = open_log(fs, SKIP)
    assert [r.sequence for r in opened.records] == list(range(1, 9))
    assert opened.report.skipped_segments == [5]
    assert fs.peek(last) == fs.peek(SECOND)
    assert split_offset(opened.log.next_offset)[0] == 6


def test_skip_corrupt_reads_on_behind_an_unreadable_header() -> None:
    fs, _ = written(9, size=300)
    data = fs.peek(SECOND)
    fs.poke(SECOND, bytes(SEGMENT_HEADER_BYTES) + data[SEGMENT_HEADER_BYTES:])
    opened = open_log(fs.crash(), SKIP)
    assert [r.sequence for r in opened.records] == list(range(1, 10))
    assert opened.report.damaged_segments == [2]


def test_skip_corrupt_is_total_for_any_damage() -> None:
    for seed in range(300):
        rand = random.Random(seed)
        fs, _ = written(9, size=300)
        for _ in range(rand.randint(1, 3)):
            name = rand.choice(fs.names("/data/wal"))
            data = bytearray(fs.peek(f"/data/wal/{name}"))
            at = rand.randrange(len(data))
            data[at : at + rand.choice((1, 50, 400))] = rand.randbytes(rand.choice((0, 1, 60)))
            fs.poke(f"/data/wal/{name}", bytes(data))
        fs = fs.crash()
        opened = open_log(fs, SKIP)
        sequences = [r.sequence for r in opened.records]
        assert sequences == sorted(set(sequences))
        assert all(r.payload == bytes([64 + r.sequence]) * 300 for r in opened.records)
        offset = opened.log.append(3, b"new")
        opened.log.flush()
        assert all(r.offset < offset for r in opened.records)
        assert open_log(fs.power_loss(), SKIP).records[-1].payload == b"new"


def test_the_copy_of_a_torn_tail_survives_a_power_loss() -> None:
    for seed in range(20):
        fs = SimulatedFileSystem(seed)
        log = open_log(fs).log
        log.append(3, b"a")
        log.flush()
        fs.poke(FIRST, fs.peek(FIRST) + b"torn" * 500)
        broken = open_log(fs).report.broken_file
        after = fs.power_loss()
        assert after.peek(f"/data/wal/{broken}") == b"torn" * 500
        assert len(open_log(after).records) == 1


def test_the_id_of_a_segment_that_was_set_aside_is_not_used_again() -> None:
    fs, _ = written(1)
    fs.poke("/data/wal/0000000000000005.wal.1.broken", b"")
    assert split_offset(open_log(fs).log.next_offset)[0] == 6


def test_a_header_that_a_failed_sync_left_in_memory_is_written_again() -> None:
    for seed in range(30):
        fs = SimulatedFileSystem(seed)
        log = open_log(fs).log
        log.append(3, b"a")
        log.flush()
        log.rotate()
        log.append(3, b"b")
        fs.inject("fdatasync", 1, 5)
        assert log.flush() is not None
        assert log.failed is not None
        fs = fs.crash()
        log = open_log(fs).log
        log.append(3, b"c")
        log.flush()
        assert [r.payload for r in open_log(fs.power_loss()).records] == [b"a", b"c"]
