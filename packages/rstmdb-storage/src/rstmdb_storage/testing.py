"""Help for tests of the database and of what stands on it: a clock, simulated disks, contents."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

import rstmdb_core as core
from rstmdb_wal import FsyncPolicy, LogOptions
from rstmdb_wal.fs import FileSystem

from ._database import Database
from ._options import CompactionOptions, StorageOptions

__all__ = ["Clock", "comparable", "open_simulated", "simulated_options"]


class Clock:
    """Milliseconds since 1970 that move only by hand, in either direction."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """The time."""
        return self.now_ms


def simulated_options(
    policy: str = "every_write",
    *,
    segment_bytes: int = 2048,
    recovery: Any = "strict",
    limits: core.Limits | None = None,
    compaction: CompactionOptions | None = None,
) -> StorageOptions:
    """Settings under which much happens early: small segments, and no compaction by itself."""
    return StorageOptions(
        log=LogOptions(
            segment_bytes=segment_bytes,
            policy=FsyncPolicy.parse(policy),
            preallocate_bytes=512,
            recovery=recovery,
        ),
        limits=limits or core.Limits(),
        compaction=compaction or CompactionOptions(enabled=False),
    )


def open_simulated(
    fs: FileSystem,
    options: StorageOptions | None = None,
    *,
    path: str = "/data",
    clock: Callable[[], int] | None = None,
) -> Database:
    """Open a database on another file system, with a still clock and ids that count up."""
    ids = count(1)
    return Database.open(
        path,
        options or simulated_options(),
        fs=fs,
        clock=clock or Clock(),
        new_id=lambda: f"generated-{next(ids)}",
    )


def comparable(state: core.State) -> bytes:
    """All of a state but the position and time of its last entry, as bytes to compare.

    Opening a directory may append a checkpoint, which moves these two and nothing else.
    """
    blocks: list[Any] = []
    for section, rows in core.dump(state.freeze()):
        kept = [rows[0], *rows[3:]] if section == "meta" else rows
        blocks.append((section, kept))
    return msgspec.msgpack.encode(blocks, order="deterministic")
