import pytest

from rstmdb_wal import FsyncPolicy, LogOptions
from rstmdb_wal.testing import SimulatedFileSystem, open_log


def options(text: str) -> LogOptions:
    return LogOptions(preallocate_bytes=0, policy=FsyncPolicy.parse(text))


@pytest.mark.parametrize("text", ["every_write", "every_n:100", "every_ms:50", "never"])
def test_a_policy_reads_back_what_it_prints(text: str) -> None:
    assert str(FsyncPolicy.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "always", "every_n", "every_n:", "every_n:0", "every_ms:-1", "never:1", "every_n:x"],
)
def test_other_policies_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="policy"):
        FsyncPolicy.parse(text)


def test_every_write_releases_what_is_synced() -> None:
    log = open_log(SimulatedFileSystem(), options("every_write")).log
    for _ in range(5):
        log.append(3, b"x")
        result = log.flush()
        assert result is not None
        assert result.released == result.durable == log.head
    assert log.begin_flush(0) is None
    assert log.begin_flush(0, force_sync=True) is None


def test_every_n_never_leaves_n_released_records_unsynced() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, options("every_n:10")).log
    for count in (1, 3, 5, 1, 9, 30, 2, 7, 1, 1):
        for _ in range(count):
            log.append(3, b"x")
        log.flush()
        assert log.released == log.head
        assert log.released_sequence - log.durable_sequence < 10
    assert log.stats().fsyncs < 8


def test_every_ms_syncs_when_it_is_due_also_without_traffic() -> None:
    log = open_log(SimulatedFileSystem(), options("every_ms:50")).log
    assert log.sync_due_ms() is None
    log.append(3, b"x")
    log.flush(1000)
    assert (log.released, log.durable) == (log.head, 0)
    assert log.sync_due_ms() == 1050
    log.append(3, b"x")
    log.flush(1040)
    assert log.sync_due_ms() == 1050
    assert log.begin_flush(1049) is None
    result = log.flush(1050)
    assert result is not None
    assert result.durable == log.head
    assert log.sync_due_ms() is None


def test_never_syncs_on_rotation_close_and_demand_only() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, options("never")).log
    before = log.stats().fsyncs
    first = log.append(3, b"x")
    log.flush(10**9)
    assert (log.durable, log.stats().fsyncs) == (0, before)
    log.rotate()
    log.append(3, b"y")
    log.flush()
    assert log.durable == first
    assert log.released == log.head
    log.flush(force_sync=True)
    assert log.durable == log.head
    last = log.append(3, b"z")
    log.close()
    assert open_log(fs.power_loss()).records[-1].offset == last


@pytest.mark.parametrize("text", ["every_n:10", "every_ms:50", "never"])
def test_what_needs_no_sync_is_written_in_place(text: str) -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, options(text)).log
    offsets = []
    for n in range(9):
        offsets.append(log.append(3, b"%d" % n))
        assert log.write_in_place(1000 + n)
        assert (log.released, log.released_sequence, log.durable) == (offsets[-1], n + 1, 0)
    assert not log.write_in_place(1010)  # nothing is queued
    assert [r.offset for r in log.read(0)] == offsets
    assert log.stats().flushes == 9
    assert [r.payload for r in open_log(fs.crash()).records] == [b"%d" % n for n in range(9)]


def test_a_write_in_place_leaves_to_a_flush_what_takes_more() -> None:
    log = open_log(SimulatedFileSystem(), options("every_write")).log
    log.append(3, b"x")
    assert not log.write_in_place(0)
    counted = open_log(SimulatedFileSystem(), options("every_n:2")).log
    counted.append(3, b"x")
    assert counted.write_in_place(0)
    counted.append(3, b"x")
    assert not counted.write_in_place(0)
    result = counted.flush()
    assert result is not None
    assert result.durable == counted.head
    timed = open_log(SimulatedFileSystem(), options("every_ms:50")).log
    timed.append(3, b"x")
    assert timed.write_in_place(1000)
    assert timed.sync_due_ms() == 1050
    timed.append(3, b"x")
    assert not timed.write_in_place(1050)
    rotated = open_log(SimulatedFileSystem(), options("never")).log
    rotated.append(3, b"x")
    rotated.rotate()
    rotated.append(3, b"y")
    assert not rotated.write_in_place(0)
    rotated.flush()
    rotated.append(3, b"z")
    flush = rotated.begin_flush(0)
    assert flush is not None
    rotated.append(3, b"behind a flush under way")
    assert not rotated.write_in_place(0)
    flush.run()
    rotated.end_flush(flush)
    assert rotated.write_in_place(0)
    assert [r.payload[:1] for r in rotated.read(0)] == [b"x", b"y", b"z", b"b"]
