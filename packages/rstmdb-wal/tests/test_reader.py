import random
import threading
from pathlib import Path

import pytest

from rstmdb_wal import FsyncPolicy, LogDamaged, LogOptions, Recovery
from rstmdb_wal.fs import OsFileSystem
from rstmdb_wal.testing import SimulatedFileSystem, open_log

SMALL = LogOptions(preallocate_bytes=0, segment_bytes=4096, compress_from_bytes=0)


def test_pages_of_any_size_give_every_record_once_and_in_order() -> None:
    rand = random.Random(1)
    log = open_log(SimulatedFileSystem(), SMALL).log
    offsets = [log.append(3, b"x" * rand.randint(0, 300)) for _ in range(300)]
    log.flush()
    for limit in (1, 7, 100, 1000):
        seen: list[int] = []
        place = 0
        while page := log.read(place, limit=limit):
            seen += [r.offset for r in page]
            place = page[-1].offset + 1 if limit % 2 else page[-1].end
        assert seen == offsets


def test_reading_begins_at_the_first_record_at_or_after_the_offset() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs, SMALL).log
    offsets = [log.append(3, b"x" * 100) for _ in range(100)]
    log.flush()
    fresh = open_log(fs.crash(), SMALL).log
    rand = random.Random(2)
    for _ in range(300):
        asked = rand.randint(offsets[0], offsets[-1])
        expected = next(o for o in offsets if o >= asked)
        assert fresh.read(asked, limit=1)[0].offset == expected
    assert fresh.read(offsets[-1] + 1) == []
    assert fresh.read(1 << 61) == []


def test_a_page_ends_at_its_limits() -> None:
    log = open_log(SimulatedFileSystem(), SMALL).log
    offsets = [log.append(3, b"x" * 100) for _ in range(20)]
    log.flush()
    assert len(log.read(0, limit=3)) == 3
    assert len(log.read(0, max_bytes=250)) == 2
    assert len(log.read(0, max_bytes=1)) == 1
    assert [r.offset for r in log.read(0, upto=offsets[4])] == offsets[:5]
    assert [r.offset for r in log.read(0, upto=offsets[4] + 1)] == offsets[:5]
    assert log.read(0, limit=0) == []


def test_what_is_not_released_is_not_shown() -> None:
    log = open_log(SimulatedFileSystem()).log
    log.append(3, b"released")
    log.flush()
    log.append(3, b"queued")
    assert len(log.read(0)) == 1
    flush = log.begin_flush(0)
    assert flush is not None
    flush.run()
    assert len(log.read(0)) == 1
    log.end_flush(flush)
    assert len(log.read(0)) == 2


def test_paging_through_a_long_segment_costs_what_it_reads() -> None:
    log = open_log(
        SimulatedFileSystem(), LogOptions(preallocate_bytes=0, compress_from_bytes=0)
    ).log
    for _ in range(20_000):
        log.append(3, b"x" * 100)
    log.flush()
    before = log.stats().bytes_read
    place, count = 0, 0
    while page := log.read(place, limit=500):
        count += len(page)
        place = page[-1].offset + 1
    assert count == 20_000
    assert log.stats().bytes_read - before < 3 * log.stats().total_size_bytes
    before = log.stats().bytes_read
    log.read(log.head - 50, limit=1)
    assert log.stats().bytes_read - before < 200_000


def test_damage_after_the_start_is_found_by_the_reader() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"good")
    log.append(3, b"spoilt")
    log.flush()
    path = "/data/wal/0000000000000001.wal"
    data = bytearray(fs.peek(path))
    data[-1] ^= 1
    fs.poke(path, bytes(data))
    with pytest.raises(LogDamaged):
        log.read(0)


def test_readers_on_other_threads_see_a_growing_prefix(tmp_path: Path) -> None:
    options = LogOptions(segment_bytes=20_000, policy=FsyncPolicy.never())
    recovery = Recovery(tmp_path / "wal", fs=OsFileSystem(), options=options)
    list(recovery)
    log = recovery.finish()
    stop = threading.Event()
    problems: list[BaseException] = []

    def reader() -> None:
        try:
            place, sequence = 0, 0
            while not stop.is_set() or log.read(place, limit=1):
                for record in log.read(place, limit=50):
                    sequence += 1
                    assert record.sequence == sequence
                    assert record.payload == b"%d" % sequence
                    place = record.offset + 1
        except BaseException as error:  # noqa: BLE001 - it is shown by the main thread
            problems.append(error)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(1, 3001):
        log.append(3, b"%d" % n)
        if n % 7 == 0:
            log.flush()
    log.close()
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
