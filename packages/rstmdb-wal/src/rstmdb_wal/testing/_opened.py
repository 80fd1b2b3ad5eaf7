"""A log and all that its recovery found, in one call."""

from __future__ import annotations

from typing import NamedTuple

from rstmdb_wal._log import Log
from rstmdb_wal._options import LogOptions
from rstmdb_wal._record import Record
from rstmdb_wal._recovery import Recovery
from rstmdb_wal._report import RecoveryReport
from rstmdb_wal.testing._file_system import SimulatedFileSystem


class Opened(NamedTuple):
    """A log that ``open_log`` opened, all records it found, and the report."""

    log: Log
    records: list[Record]
    report: RecoveryReport


def open_log(
    fs: SimulatedFileSystem,
    options: LogOptions | None = None,
    *,
    directory: str = "/data/wal",
    after: int = 0,
    after_sequence: int = 0,
    database_id: bytes | None = None,
) -> Opened:
    """Recover a log and keep its records in a list. Raises as ``Recovery`` does.

    Without options nothing is preallocated, so that files end with their last record.
    """
    recovery = Recovery(
        directory,
        fs=fs,
        options=options if options is not None else LogOptions(preallocate_bytes=0),
        after=after,
        after_sequence=after_sequence,
        database_id=database_id,
        new_database_id=lambda: fs.random_bytes(16),
    )
    records = list(recovery)
    return Opened(recovery.finish(), records, recovery.report)
