"""Where proof that records were synced ends, noted one by one or in runs."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rstmdb_wal import Record, make_offset
from rstmdb_wal._proof import Unproven
from rstmdb_wal._segment import Segment

START = make_offset(3, 0)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(24, 9000), st.integers(0, 30)), min_size=1, max_size=40),
        max_size=8,
    ),
    st.integers(1, 1000),
)
def test_a_run_says_what_its_records_say(runs: list[list[tuple[int, int]]], first: int) -> None:
    one, many = Unproven(first, 0), Unproven(first, 0)
    position, sequence, proven = 133, first, first - 1
    exact = 0
    positions = {first: 0}
    for run in runs:
        records = []
        for size, unsynced in run:
            proven = min(max(proven, sequence - 1 - unsynced), sequence - 1)
            one.prove(proven)
            one.add(sequence, position)
            positions[sequence] = position if sequence > first else 0
            end = position + size
            records.append(Record(3, sequence, START + position, b"", False, False, START + end))
            position, sequence = end, sequence + 1
        many.add_all(records, proven, START)
        exact = positions[proven + 1]
        for steps in (one, many):
            assert steps.position <= exact  # never trusts what is not proven
            assert exact - steps.position < 4096 + 9000  # nor writes much more again


@given(st.lists(st.integers(24, 200_000), max_size=60))
def test_marks_are_the_same_for_a_run(sizes: list[int]) -> None:
    one = Segment(3, Path("x"), 0, 1, 0, legacy=False)
    many = Segment(3, Path("x"), 0, 1, 0, legacy=False)
    position = one.start
    records = []
    for sequence, size in enumerate(sizes, 1):
        one.mark_next(position)
        offset = START + position
        records.append(Record(3, sequence, offset, b"", False, False, offset + size))
        position += size
    if records:
        many.mark_all(records)
    assert one.marks == many.marks
