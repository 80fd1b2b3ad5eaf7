"""How far back the end of a log is not proven to be synced, and has to be written again."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from rstmdb_wal._record import Record

_STEP_BYTES = 4096  # granularity with which the unproven end is known

_offset_of = attrgetter("offset")


class Unproven:
    """Steps through the records of one segment, the first one where proof ends.

    A step is the sequence of a record and its position in the segment.
    """

    __slots__ = ("_steps",)

    def __init__(self, sequence: int, position: int) -> None:
        self._steps = deque([(sequence, position)])

    @property
    def position(self) -> int:
        """Return where the end begins that nothing proves to be synced."""
        return self._steps[0][1]

    def add(self, sequence: int, position: int) -> None:
        """Note a record that was read."""
        if position - self._steps[-1][1] >= _STEP_BYTES:
            self._steps.append((sequence, position))

    def add_all(self, records: Sequence[Record], proven: int, start: int) -> None:
        """Note records that follow each other, in one go, and what they prove.

        ``start`` is the offset of the segment's first byte.
        """
        at = proven + 1 - records[0].sequence
        if at > 0:
            # All before them is proven, and the first ones of theirs.
            first = records[at]
            self._steps = deque([(first.sequence, first.offset - start)])
        else:
            self.prove(proven)
            at = 0
        while True:
            after = start + self._steps[-1][1] + _STEP_BYTES
            at = bisect_left(records, after, lo=at, key=_offset_of)
            if at == len(records):
                return
            self._steps.append((records[at].sequence, records[at].offset - start))

    def prove(self, sequence: int) -> None:
        """Note that all up to ``sequence`` was synced: the steps that end before it are proven."""
        steps = self._steps
        while len(steps) > 1 and steps[1][0] <= sequence + 1:
            steps.popleft()
