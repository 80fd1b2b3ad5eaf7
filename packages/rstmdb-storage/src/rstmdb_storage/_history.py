"""Reading released records back from the log, for WAL_READ and for watchers that lag."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

import rstmdb_core as core
from rstmdb_wal import Log, LogError, OffsetCompacted

from ._errors import DatabaseDamaged, OffsetGone
from ._results import WalReadResult, WalRecord

__all__ = ["read_events", "read_records"]

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024
EVENT_PAGE_BYTES = 1024 * 1024

_WATCHED = (core.ApplyEvent, core.DeleteInstance, core.FlushAll)


def read_records(log: Log, from_offset: int, limit: int | None) -> WalReadResult:
    """A page of at most `limit` (100 unless given, 1000 at most) records and 4 MiB of JSON.

    Raises OffsetGone below the oldest record kept.
    """
    wanted = min(DEFAULT_LIMIT if limit is None else limit, MAX_LIMIT)
    records: list[WalRecord] = []
    next_offset = from_offset
    size = 0
    for record in _read(log, from_offset, wanted, MAX_PAGE_BYTES):
        entry = core.entry_to_json(record.kind, record.payload, record.legacy)
        size += len(entry)
        if records and size > MAX_PAGE_BYTES:
            break
        records.append(WalRecord(record.sequence, record.offset, Raw(entry)))
        next_offset = record.end
    return WalReadResult(records, next_offset)


def read_events(
    log: Log, state: core.State, from_offset: int, upto: int
) -> tuple[list[tuple[int, core.Entry]], int]:
    """Transitions and what ends watches between two offsets, and how far the page went."""
    found: list[tuple[int, core.Entry]] = []
    records = _read(log, from_offset, MAX_LIMIT, EVENT_PAGE_BYTES, upto)
    for record in records:
        entry = core.decode_entry(record.kind, record.payload, record.legacy)
        if type(entry) in _WATCHED:
            found.append((record.offset, _completed(entry, state) if record.legacy else entry))
    return found, records[-1].offset if records else upto


def _read(
    log: Log, from_offset: int, limit: int, max_bytes: int, upto: int | None = None
) -> list[Any]:
    try:
        return log.read(from_offset, limit=limit, max_bytes=max_bytes, upto=upto)
    except OffsetCompacted as error:
        raise OffsetGone(from_offset, error.earliest) from error
    except LogError as error:
        raise DatabaseDamaged(str(error)) from error


def _completed(entry: Any, state: core.State) -> Any:
    """The original's events name no machine; their instance does."""
    if type(entry) is not core.ApplyEvent or entry.machine:
        return entry
    instance: core.Instance | core.Tombstone | None = state.instances.get(entry.instance_id)
    if instance is None:
        instance = state.tombstones.by_key.get(entry.instance_id)
    if instance is None:
        return entry
    return msgspec.structs.replace(entry, machine=instance.machine, version=instance.version)
