"""The log: append, flush, replay, without a disk that syncs. `nox -s micro`."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rstmdb_wal import KIND_APPLY_EVENT, FsyncPolicy, Log, LogOptions, Recovery

PAYLOAD = bytes(range(200))
RECORDS = 10_000


OPTIONS = LogOptions(policy=FsyncPolicy.never())


def recovered(folder: Path) -> tuple[Log, int]:
    """The log in a folder, and how many records it had."""
    recovery = Recovery(folder / "wal", options=OPTIONS)
    records = sum(1 for _ in recovery)
    return recovery.finish(), records


@pytest.mark.parametrize("records", [1, 256])
def test_records_are_appended_and_flushed(
    benchmark: BenchmarkFixture, tmp_path: Path, records: int
) -> None:
    log, _ = recovered(tmp_path)

    def append() -> None:
        for _ in range(records):
            log.append(KIND_APPLY_EVENT, PAYLOAD)
        log.flush()

    benchmark(append)
    assert log.released == log.head > 0
    log.close()


def test_10000_records_are_replayed(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    log, _ = recovered(tmp_path)
    for _ in range(RECORDS):
        log.append(KIND_APPLY_EVENT, PAYLOAD)
    log.flush()
    log.close()

    def replay() -> int:
        log, records = recovered(tmp_path)
        log.close()
        return records

    assert benchmark(replay) == RECORDS
