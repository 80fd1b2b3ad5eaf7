"""What a flush does when the disk is full, or fails."""

import errno

import pytest

from rstmdb_wal import FsyncPolicy, LogFailed, LogOptions
from rstmdb_wal.testing import SimulatedFileSystem, open_log

SMALL = LogOptions(preallocate_bytes=0, segment_bytes=1024)
NEVER = LogOptions(preallocate_bytes=0, policy=FsyncPolicy.never())


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_undoes_all_that_is_not_released_and_the_log_goes_on(error: int) -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    kept = log.append(3, b"kept")
    log.flush()
    state = (log.next_sequence, log.head, log.next_offset)
    lost = log.append(3, b"lost")
    fs.inject("pwrite", 1, error)
    flush = log.begin_flush(0)
    assert flush is not None
    log.append(3, b"queued behind it")
    flush.run()
    result = log.end_flush(flush)
    assert (result.released, result.durable, result.failed) == (kept, kept, "full")
    assert result.error is not None
    assert result.error.errno == error
    assert (log.next_sequence, log.head, log.next_offset) == state
    assert log.failed is None
    assert log.append(3, b"again") == lost
    again = log.flush()
    assert again is not None
    assert again[:4] == (lost, lost, None, None)
    assert [r.payload for r in open_log(fs.power_loss()).records] == [b"kept", b"again"]


def test_a_disk_that_fills_in_the_middle_of_a_write_is_cut_back() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"kept")
    log.flush()
    size = len(fs.peek("/data/wal/0000000000000001.wal"))
    for _ in range(10):
        log.append(3, b"x" * 100)
    fs.free_bytes = 500
    result = log.flush()
    assert result is not None
    assert result.failed == "full"
    assert len(fs.peek("/data/wal/0000000000000001.wal")) == size
    fs = fs.power_loss()
    opened = open_log(fs)
    assert [r.payload for r in opened.records] == [b"kept"]
    assert opened.report.torn_bytes == 0


@pytest.mark.parametrize(("operation", "k"), [("create", 1), ("pwrite", 2), ("pwrite", 3)])
def test_a_full_disk_in_a_rotation_keeps_what_the_old_segment_took(operation: str, k: int) -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    offsets = [log.append(3, bytes([n]) * 300) for n in range(3)]
    assert offsets[2] >> 40 == 2
    fs.inject(operation, k, errno.ENOSPC)
    result = log.flush()
    assert result is not None
    assert (result.released, result.durable, result.failed) == (offsets[1], offsets[1], "full")
    assert log.next_offset == offsets[2]
    assert log.next_sequence == 3
    assert log.append(3, b"again") == offsets[2]
    crashed = log.flush()
    assert crashed is not None
    assert crashed.failed is None
    log.rotate()
    log.append(3, b"third segment")
    log.flush()
    assert [r.sequence for r in log.read(0)] == [1, 2, 3, 4]
    assert [r.sequence for r in open_log(fs.power_loss(), SMALL).records] == [1, 2, 3, 4]


def test_a_full_disk_also_undoes_what_was_queued_for_later_segments() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    kept = log.append(3, b"kept")
    log.flush()
    log.append(3, b"lost")
    fs.inject("pwrite", 1, errno.ENOSPC)
    flush = log.begin_flush(0)
    assert flush is not None
    for _ in range(10):
        log.append(3, b"x" * 300)
    flush.run()
    assert log.end_flush(flush).failed == "full"
    log.append(3, b"after")
    log.flush()
    assert [r.payload for r in log.read(kept)] == [b"kept", b"after"]
    assert [r.payload for r in open_log(fs.crash(), SMALL).records] == [b"kept", b"after"]


def test_a_crash_after_a_full_disk_in_a_rotation_starts_again() -> None:
    for operation, k in (("create", 1), ("pwrite", 2), ("pwrite", 3)):
        fs = SimulatedFileSystem()
        log = open_log(fs, SMALL).log
        for n in range(3):
            log.append(3, bytes([n]) * 300)
        fs.inject(operation, k, errno.ENOSPC)
        log.flush()
        assert [r.sequence for r in open_log(fs.crash(), SMALL).records] == [1, 2]


def test_a_cut_that_fails_after_a_full_disk_ends_the_log() -> None:
    for operation in ("truncate", "fsync"):
        fs = SimulatedFileSystem()
        log = open_log(fs).log
        kept = log.append(3, b"kept")
        log.flush()
        log.append(3, b"lost")
        fs.inject("pwrite", 1, errno.ENOSPC)
        fs.inject(operation, 1, errno.EIO)
        result = log.flush()
        assert result is not None
        assert (result.released, result.failed) == (kept, "fatal")
        assert log.failed is not None


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("pwrite", errno.EIO),
        ("fdatasync", errno.EIO),
        ("fdatasync", errno.ENOSPC),
        ("fsync_dir", errno.EIO),
        ("create", errno.EACCES),
    ],
)
@pytest.mark.parametrize("lasting", [True, False])
def test_any_other_failure_is_final_and_nothing_is_acknowledged(
    operation: str, error: int, lasting: bool
) -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    kept = log.append(3, b"kept")
    log.flush()
    log.append(3, b"in doubt")
    log.rotate()
    log.append(3, b"in doubt too")
    fs.inject(operation, 1, error, lasting=lasting)
    result = log.flush()
    assert result is not None
    assert (result.released, result.durable, result.failed) == (kept, kept, "fatal")
    fs.clear_faults()
    with pytest.raises(LogFailed):
        log.append(3, b"never")
    with pytest.raises(LogFailed):
        log.begin_flush(0)
    assert [r.payload for r in log.read(0)] == [b"kept"]
    log.close()
    assert open_log(fs.power_loss()).records[0].payload == b"kept"


def test_a_restart_does_not_trust_pages_that_a_failed_sync_left_clean() -> None:
    lost = 0
    for seed in range(50):
        fs = SimulatedFileSystem(seed)
        log = open_log(fs).log
        for n in range(5):
            log.append(3, b"%d" % n)
            log.flush()
        for n in range(5):
            log.append(3, b"unsynced %d" % n)
        fs.inject("fdatasync", 1, errno.EIO)
        log.flush()
        restarted = fs.crash()
        records = open_log(restarted).records  # sees the pages, although they may not be on disk
        assert len(records) == 10
        again = open_log(restarted.power_loss())
        assert again.records == records
        lost += open_log(fs.power_loss()).records != records
    assert lost > 10  # without the restart in between they do get lost: the test means something


def test_short_writes_and_interruptions_are_completed() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    fs.inject_short_write(1, 10)
    fs.inject("pwrite", 2, errno.EINTR)
    fs.inject_short_write(3, 1)
    log.append(3, b"x" * 100)
    result = log.flush()
    assert result is not None
    assert result[:4] == (log.head, log.head, None, None)
    assert open_log(fs.power_loss()).records[0].payload == b"x" * 100


def test_reads_of_released_records_go_on_after_a_failure() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, NEVER).log
    for n in range(10):
        log.append(3, b"%d" % n)
    log.flush()
    log.append(3, b"x")
    fs.inject("pwrite", 1, errno.EIO)
    log.flush()
    assert len(log.read(0)) == 10


def test_a_full_disk_under_a_lazy_policy_leaves_what_was_released_synced() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, NEVER).log
    log.append(3, b"released")
    log.flush()
    assert log.durable == 0
    log.append(3, b"x")
    fs.inject("pwrite", 1, errno.ENOSPC)
    log.flush()
    assert log.durable == log.released == log.head
    assert [r.payload for r in open_log(fs.power_loss()).records] == [b"released"]


def test_a_full_disk_under_a_write_in_place_is_undone_as_a_flush_is() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, NEVER).log
    kept = log.append(3, b"kept")
    log.flush()
    state = (log.next_sequence, log.head, log.next_offset)
    lost = log.append(3, b"lost")
    fs.inject("pwrite", 1, errno.ENOSPC)
    assert not log.write_in_place(0)
    assert not log.write_in_place(0)  # nor is it tried again
    result = log.flush()
    assert result is not None
    assert (result.released, result.durable, result.failed) == (kept, kept, "full")
    assert (log.next_sequence, log.head, log.next_offset) == state
    assert log.append(3, b"again") == lost
    assert log.write_in_place(0)
    assert [r.payload for r in log.read(0)] == [b"kept", b"again"]
    assert [r.payload for r in open_log(fs.crash(), NEVER).records] == [b"kept", b"again"]


def test_any_other_failure_of_a_write_in_place_is_final() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, NEVER).log
    kept = log.append(3, b"kept")
    log.flush()
    log.append(3, b"lost")
    fs.inject("pwrite", 1, errno.EIO)
    assert not log.write_in_place(0)
    result = log.flush()
    assert result is not None
    assert (result.released, result.failed) == (kept, "fatal")
    with pytest.raises(LogFailed):
        log.append(3, b"refused")
    with pytest.raises(LogFailed):
        log.write_in_place(0)
    assert [r.payload for r in log.read(0)] == [b"kept"]
    assert [r.payload for r in open_log(fs.crash(), NEVER).records] == [b"kept"]
