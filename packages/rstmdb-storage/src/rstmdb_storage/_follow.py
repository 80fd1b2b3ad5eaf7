"""Replaying a log on a start: every record goes through the evolve that live traffic uses."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import rstmdb_core as core
from rstmdb_wal import KIND_CHECKPOINT, Record, Recovery, split_offset

from ._errors import DatabaseDamaged
from ._snapshot import Catalog
from ._starts import Start

__all__ = ["Progress", "Replayed", "follow"]

logger = logging.getLogger("rstmdb.recovery")

PROGRESS_EVERY_RECORDS: Final = 250_000
PROGRESS_EVERY_BYTES: Final = 4 * 1024 * 1024

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes of log that were read and those that there are."""


@dataclass(slots=True)
class Replayed:
    """A state, and the recovery that led to it and can still be finished."""

    start: Start
    recovery: Recovery
    catalog: Catalog
    checkpoint: int = 0
    entries: int = 0


def follow(
    recovery: Recovery,
    start: Start,
    catalog: Catalog,
    *,
    skip: bool = False,
    progress: Progress | None = None,
) -> Replayed:
    """Feed every record to the same evolve that live traffic uses.

    `skip` goes on past records that hold no entry. Raises DatabaseDamaged and what the
    recovery raises.
    """
    report = recovery.report
    next_report = PROGRESS_EVERY_RECORDS
    told = malformed = checkpoint = 0
    with contextlib.closing(recovery.runs()) as runs:
        for run in runs:
            malformed += _take_in(recovery, start, run, skip=skip)
            checkpoint = run[-1].offset if run[-1].kind == KIND_CHECKPOINT else 0
            if report.records >= next_report:
                next_report = report.records + PROGRESS_EVERY_RECORDS
                share = 100 * report.bytes / report.total_bytes if report.total_bytes else 100
                logger.info(
                    "recovering: %d records, %.0f percent of the log", report.records, share
                )
            if progress is not None and report.bytes - told >= PROGRESS_EVERY_BYTES:
                told = report.bytes
                progress(told, report.total_bytes)
    _check_end(recovery, catalog, skip=skip)
    if progress is not None:
        progress(report.total_bytes, report.total_bytes)
    entries = report.records - report.checkpoints - malformed
    return Replayed(start, recovery, catalog, checkpoint, entries)


def _take_in(recovery: Recovery, start: Start, run: list[Record], *, skip: bool) -> int:
    """Evolve by a run of records; return how many of them held no entry."""
    state, covered = start.state, start.covered
    malformed = 0
    if covered is not None:
        run = [record for record in run if not _is_covered(record, covered)]
    while True:
        try:
            core.replay(state, run)
        except core.MalformedEntry as error:
            _malformed(recovery, run[error.done], error, skip=skip)
            malformed += 1
            run = run[error.done + 1 :]
        else:
            return malformed


def _malformed(recovery: Recovery, record: Record, error: Exception, *, skip: bool) -> None:
    segment, at = split_offset(record.offset)
    message = (
        f"the record of sequence {record.sequence} at offset {record.offset} (segment {segment}, "
        f"byte {at}) holds no entry: {error}; look at it with `rstmdb-cli dump`"
    )
    if not skip:
        raise DatabaseDamaged(message) from error
    logger.error("%s", message)
    recovery.report.skipped_records += 1
    if segment not in recovery.report.damaged_segments:
        recovery.report.damaged_segments.append(segment)


def _check_end(recovery: Recovery, catalog: Catalog, *, skip: bool) -> None:
    """Refuse a log that ends before a snapshot that can't be used: what that held is lost."""
    for info in catalog.unusable:
        if info.wal_offset > recovery.report.head:
            message = (
                f"the log ends at offset {recovery.report.head}, snapshot {info.snapshot_id}, "
                f"which can't be used, holds what was written up to {info.wal_offset}; restore "
                "a backup, or give up what is lost with `storage.recovery: skip_corrupt`"
            )
            if not skip:
                raise DatabaseDamaged(message)
            logger.error("%s", message)


def _is_covered(record: Record, covered: dict[str, int]) -> bool:
    """Whether one of the original's instance snapshots holds what this record did."""
    try:
        entry = core.decode_entry(record.kind, record.payload, record.legacy)
    except core.MalformedEntry:
        return False
    instance_id = getattr(entry, "instance_id", None)
    return instance_id is not None and record.offset <= covered.get(instance_id, -1)
