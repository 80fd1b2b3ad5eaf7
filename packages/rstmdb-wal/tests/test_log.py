import errno
import itertools

import pytest

from rstmdb_wal import (
    MAX_PAYLOAD_BYTES,
    BatchTooLarge,
    LogDamaged,
    LogFailed,
    LogMisused,
    LogOptions,
    OffsetCompacted,
    RecordTooLarge,
    make_offset,
    split_offset,
)
from rstmdb_wal._segment import SEGMENT_HEADER_BYTES
from rstmdb_wal.testing import SimulatedFileSystem, open_log

SMALL = LogOptions(preallocate_bytes=0, segment_bytes=1024)


def test_offsets_name_where_records_start_and_sequences_rise_by_one() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    first = log.append(1, b"one")
    second = log.append(3, b"two")
    assert first == make_offset(1, SEGMENT_HEADER_BYTES)
    assert second == first + 24 + 3
    assert (log.head, log.next_offset, log.next_sequence) == (second, second + 27, 3)
    assert (log.released, log.durable) == (0, 0)
    result = log.flush()
    assert result is not None
    assert result[:4] == (second, second, None, None)
    assert [(r.offset, r.sequence, r.kind, r.payload) for r in log.read(0)] == [
        (first, 1, 1, b"one"),
        (second, 2, 3, b"two"),
    ]


def test_everything_queued_goes_out_with_one_write_and_one_sync() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    for _ in range(100):
        log.append(3, b"x" * 50)
    fs.tracing = True
    log.flush()
    assert [call.operation for call in fs.trace] == ["pwrite", "fdatasync"]


def test_rotation_syncs_the_old_segment_and_the_directory_before_it_writes_on() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, LogOptions(preallocate_bytes=0)).log
    log.append(3, b"a")
    log.rotate()
    log.append(3, b"b")
    fs.tracing = True
    log.flush()
    assert [(call.operation, call.path[-6:]) for call in fs.trace] == [
        ("pwrite", "01.wal"),
        ("fdatasync", "01.wal"),
        ("create", "02.wal"),
        ("fsync_dir", "ta/wal"),
        ("pwrite", "02.wal"),
        ("fdatasync", "02.wal"),
        ("close", "01.wal"),
        ("pwrite", "02.wal"),
        ("fdatasync", "02.wal"),
    ]


def test_a_full_segment_is_left_for_the_next_one_and_all_comes_back() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    offsets = [log.append(3, bytes([n]) * 100) for n in range(50)]
    log.flush()
    assert len(log.segments()) > 5
    assert all(size <= 1024 for _, _, size in log.segments())
    assert all(a < b for a, b in itertools.pairwise(offsets))
    log.close()
    opened = open_log(fs.crash(), SMALL)
    assert [r.offset for r in opened.records] == offsets
    assert [r.sequence for r in opened.records] == list(range(1, 51))
    assert opened.log.next_sequence == 51
    assert opened.log.append(3, b"") > offsets[-1]


def test_a_record_larger_than_a_segment_gets_one_of_its_own() -> None:
    fs = SimulatedFileSystem()
    options = LogOptions(preallocate_bytes=0, segment_bytes=1024, compress_from_bytes=0)
    log = open_log(fs, options).log
    offsets = [log.append(3, b"a"), log.append(3, b"b" * 5000), log.append(3, b"c")]
    log.flush()
    assert [split_offset(o)[0] for o in offsets] == [1, 2, 3]
    assert [r.offset for r in open_log(fs.crash(), options).records] == offsets


def test_large_payloads_are_compressed_and_come_back() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    payloads = [b"abc" * 10_000, fs.random_bytes(5000), b"x" * 4095]
    for payload in payloads:
        log.append(1, payload)
    log.flush()
    assert log.stats().total_size_bytes < 12_000
    assert [r.payload for r in log.read(0)] == payloads
    assert [r.payload for r in open_log(fs.crash()).records] == payloads


def test_payload_and_kind_have_limits() -> None:
    log = open_log(SimulatedFileSystem()).log
    with pytest.raises(RecordTooLarge):
        log.append(1, bytes(MAX_PAYLOAD_BYTES + 1))
    for kind in (0, 8, 255, 256):
        with pytest.raises(ValueError, match="kind"):
            log.append(kind, b"")
    assert log.next_sequence == 1


def test_a_new_log_has_its_id_on_disk_before_it_is_used() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    assert len(log.database_id) == 16
    assert open_log(fs.power_loss()).log.database_id == log.database_id
    known = open_log(SimulatedFileSystem(), database_id=bytes(16)).log
    assert known.database_id == bytes(16)


def test_a_restart_never_writes_on_in_the_same_segment() -> None:
    fs = SimulatedFileSystem()
    for start in range(1, 4):
        log = open_log(fs).log
        assert split_offset(log.append(3, b"x"))[0] == (max(1, start))
        log.close()
        fs = fs.crash()


def test_restarts_without_writes_make_no_segments() -> None:
    fs = SimulatedFileSystem()
    for _ in range(3):
        open_log(fs).log.close()
        fs = fs.crash()
    assert fs.names("/data/wal") == ["0000000000000001.wal"]


# Batches


def test_an_atomic_batch_marks_all_records_but_its_last() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"before")
    log.begin_batch(atomic=True)
    staged = [log.stage(3, b"%d" % n) for n in range(3)]
    log.commit_batch()
    log.append(3, b"after")
    log.flush()
    records = log.read(0)
    assert [r.more for r in records] == [False, True, True, False, False]
    assert [r.offset for r in records[1:4]] == staged
    assert open_log(fs.crash()).records == records


def test_an_aborted_batch_leaves_no_trace() -> None:
    log = open_log(SimulatedFileSystem(), SMALL).log
    log.append(3, b"kept")
    before = (log.head, log.next_offset, log.next_sequence)
    for atomic in (True, False):
        log.begin_batch(atomic=atomic)
        for _ in range(5 if atomic else 50):
            log.stage(3, b"x" * 100)
        log.abort_batch()
        assert (log.head, log.next_offset, log.next_sequence) == before
    log.append(3, b"next")
    log.flush()
    assert [r.payload for r in log.read(0)] == [b"kept", b"next"]


def test_an_atomic_batch_is_never_split_over_segments() -> None:
    log = open_log(SimulatedFileSystem(), SMALL).log
    log.append(3, b"x" * 500)
    log.begin_batch(atomic=True)
    log.stage(3, b"a" * 200)
    with pytest.raises(BatchTooLarge):
        log.stage(3, b"b" * 200)
    log.abort_batch()
    log.rotate()
    log.begin_batch(atomic=True)
    offsets = [log.stage(3, b"c" * 200) for _ in range(20)]
    log.commit_batch()
    after = log.append(3, b"after")
    log.flush()
    assert {split_offset(o)[0] for o in offsets} == {2}
    assert split_offset(after)[0] == 3
    assert log.segments()[1][2] > 1024


def test_a_best_effort_batch_may_cross_segments() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    log.begin_batch(atomic=False)
    offsets = [log.stage(3, b"c" * 200) for _ in range(20)]
    log.commit_batch()
    log.flush()
    assert [r.offset for r in open_log(fs.crash(), SMALL).records] == offsets


def test_no_flush_begins_within_a_batch_and_no_record_slips_in() -> None:
    log = open_log(SimulatedFileSystem()).log
    log.begin_batch(atomic=True)
    log.stage(3, b"x")
    with pytest.raises(LogMisused):
        log.begin_flush(0)
    with pytest.raises(LogMisused):
        log.append(3, b"x")
    with pytest.raises(LogMisused):
        log.begin_batch(atomic=True)
    log.commit_batch()
    assert log.flush() is not None


def test_appends_go_on_while_a_flush_runs() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    seen = []
    for round_ in range(20):
        log.append(3, b"first %d" % round_)
        flush = log.begin_flush(0)
        assert flush is not None
        for n in range(5):
            log.append(3, b"while %d %d" % (round_, n))
        with pytest.raises(LogMisused):
            log.begin_flush(0)
        flush.run()
        seen.append(log.end_flush(flush).released)
    log.flush()
    assert seen == sorted(seen)
    records = log.read(0)
    assert len(records) == 120
    assert open_log(fs.crash(), SMALL).records == records


def test_seal_and_close_put_all_on_disk() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"a")
    boundary = log.seal()
    assert log.durable == log.head
    assert log.append(3, b"b") == boundary
    log.close()
    log.close()
    with pytest.raises(LogMisused):
        log.append(3, b"c")
    assert [r.payload for r in open_log(fs.power_loss()).records] == [b"a", b"b"]


def test_figures_count_what_happened() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    for _ in range(10):
        log.append(3, b"x" * 10)
    log.flush()
    log.read(0)
    stats = log.stats()
    assert (stats.entry_count, stats.segment_count, stats.flushes) == (10, 1, 1)
    assert stats.total_size_bytes == SEGMENT_HEADER_BYTES + 340 == stats.bytes_written
    assert (stats.writes, stats.fsyncs, stats.last_flush_records) == (2, 2, 10)
    assert stats.bytes_read >= 340


def test_zeros_are_written_ahead_and_cut_off_when_the_segment_ends() -> None:
    fs = SimulatedFileSystem()
    setting = LogOptions(segment_bytes=2048, preallocate_bytes=500)
    first = "/data/wal/0000000000000001.wal"
    log = open_log(fs, setting).log
    log.append(3, b"a" * 76)
    log.flush()
    end = SEGMENT_HEADER_BYTES + 100
    assert len(fs.peek(first)) == end + 500
    fs.tracing = True
    for _ in range(5):
        log.append(3, b"b" * 76)
        log.flush()
    assert [call.size for call in fs.trace if call.operation == "pwrite"] == [100] * 5
    assert len(fs.peek(first)) == end + 500
    log.append(3, b"c" * 76)
    log.flush()
    assert len(fs.peek(first)) == end + 600 + 500
    assert log.segments()[0][2] == log.stats().total_size_bytes == end + 600
    log.rotate()
    log.append(3, b"d")
    log.flush()
    assert len(fs.peek(first)) == end + 600
    log.close()
    assert [size for _, path, size in log.segments()] == [
        len(fs.peek(path)) for _, path, _ in log.segments()
    ]
    assert len(open_log(fs.power_loss(), setting).records) == 8


def test_a_disk_with_no_room_for_zeros_still_takes_records() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, LogOptions()).log
    fs.free_bytes = 1000
    offsets = []
    for _ in range(20):
        offset = log.append(3, b"x" * 76)
        result = log.flush()
        assert result is not None
        if result.failed:
            break
        offsets.append(offset)
    assert len(offsets) == 10
    fs.free_bytes = None
    offsets.append(log.append(3, b"again"))
    log.flush()
    assert [r.offset for r in open_log(fs.power_loss()).records] == offsets


# Dropping segments


def test_segments_before_an_offset_are_deleted_and_reading_below_is_refused() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    offsets = [log.append(3, b"x" * 200) for _ in range(20)]
    log.flush()
    assert log.earliest == offsets[0]
    assert log.read(1, limit=1)[0].offset == offsets[0]  # nothing was deleted: no gap to tell of
    assert log.reaches_back_to(1)
    keep = offsets[10]
    deleted, reclaimed = log.drop_before(keep)
    assert deleted == split_offset(keep)[0] - 1
    assert reclaimed > deleted * 500
    last_deleted = max(o for o in offsets if split_offset(o)[0] < split_offset(keep)[0])
    assert log.earliest == last_deleted + 1
    first_kept = log.read(0, limit=1)[0].offset
    assert log.read(log.earliest, limit=1)[0].offset == first_kept
    assert log.reaches_back_to(log.earliest)
    assert not log.reaches_back_to(last_deleted)
    with pytest.raises(OffsetCompacted) as caught:
        log.read(last_deleted)
    assert caught.value.earliest == log.earliest
    log.append(3, b"more")
    log.close()
    after = open_log(fs.crash(), SMALL, after=offsets[12], after_sequence=13)
    assert [r.offset for r in after.records[:-1]] == offsets[13:]
    assert after.log.earliest == log.earliest
    assert after.log.drop_before(1 << 62)[0] > 0
    assert len(after.log.segments()) == 1


def test_a_deleted_segment_without_a_snapshot_is_missing() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    for _ in range(20):
        log.append(3, b"x" * 200)
    log.flush()
    log.drop_before(log.head)
    with pytest.raises(LogDamaged, match="missing"):
        open_log(fs.crash(), SMALL)


def test_a_failed_log_says_so() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"a")
    fs.inject("pwrite", 1, errno.EIO)
    result = log.flush()
    assert result is not None
    assert result.failed == "fatal"
    for call in (lambda: log.append(3, b""), lambda: log.begin_flush(0), log.rotate):
        with pytest.raises(LogFailed) as caught:
            call()
        assert isinstance(caught.value.__cause__, OSError)
    log.close()
