"""What a recovery found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RecoveryReport:
    """What recovery found so far. It changes while the records are read.

    ``records`` and ``bytes`` were read, ``total_bytes`` is what there is to read;
    ``checkpoints`` of the records are of that kind.
    ``torn_bytes`` are cut off the last segment, ``broken_file`` is the copy of them (set by
    ``finish``). ``skipped_records`` (by their sequences), ``skipped_segments`` (ids of those
    not read at all) and ``damaged_segments`` (ids, also those read in part) are what
    "skip_corrupt" went past; ``skipped_fragments`` are torn writes of the original behind
    which it had gone on. ``unreadable_segments`` (ids) lie before the snapshot and are not
    needed.
    """

    records: int = 0
    checkpoints: int = 0
    bytes: int = 0
    total_bytes: int = 0
    legacy_records: int = 0
    torn_bytes: int = 0
    broken_file: str | None = None
    rewritten_bytes: int = 0
    skipped_records: int = 0
    skipped_segments: list[int] = field(default_factory=list)
    damaged_segments: list[int] = field(default_factory=list)
    skipped_fragments: int = 0
    unreadable_segments: list[int] = field(default_factory=list)
    segments: int = 0
    last_sequence: int = 0
    head: int = 0
    earliest_offset: int = 0
