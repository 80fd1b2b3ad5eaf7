"""Log offsets: ``segment_id << 40 | position in the segment``, the start of a record."""

from __future__ import annotations

POSITION_BITS = 40
MAX_POSITION = (1 << POSITION_BITS) - 1


def make_offset(segment_id: int, position: int) -> int:
    """Return the offset of byte ``position`` (0 to 2**40 - 1) in segment ``segment_id``."""
    return segment_id << POSITION_BITS | position


def split_offset(offset: int) -> tuple[int, int]:
    """Return (segment_id, position) of an offset."""
    return offset >> POSITION_BITS, offset & MAX_POSITION
