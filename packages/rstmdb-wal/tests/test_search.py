"""Finding the records behind damage: all of them, and in time that a client cannot drive up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from rstmdb_wal._record import FLAG_OURS, HEADER, MAGIC, crc_seed, decode_at, encode
from rstmdb_wal._search import search
from rstmdb_wal._spans import SpanSums
from rstmdb_wal.fs import File
from rstmdb_wal.testing import SimulatedFileSystem

SEED = crc_seed(b"d" * 16)


def file_of(content: bytes) -> tuple[SimulatedFileSystem, File]:
    fs = SimulatedFileSystem()
    fs.poke("/data/x", content)
    return fs, fs.open_read(Path("/data/x"))


@given(st.integers(0, 300_000), st.data())
def test_the_sum_of_any_span_is_its_crc(size: int, data: st.DataObject) -> None:
    content = random.Random(size).randbytes(size)
    start = data.draw(st.integers(0, size))
    sums = SpanSums(file_of(content)[1], start)
    lowest = start
    for _ in range(5):
        begin = data.draw(st.integers(lowest, size))
        end = data.draw(st.integers(begin, size))
        value = data.draw(st.integers(0, 2**32 - 1))
        assert sums.crc(begin, end, value) == crc32c(content[begin:end], value)
        lowest = data.draw(st.integers(lowest, begin))
        sums.forget(lowest)


def test_records_of_every_size_are_found_at_any_byte() -> None:
    rand = random.Random(5)
    content = bytearray(rand.randbytes(77))
    wanted = []
    for sequence, size in enumerate((0, 1, 4096, 4097, 70_000, 5, 1_500_000, 2_000_000, 9), 11):
        wanted.append((len(content), sequence))
        content += encode(3, FLAG_OURS, 1, sequence, rand.randbytes(size), SEED)
        content += rand.randbytes(rand.randint(0, 2000))
    _, file = file_of(bytes(content))
    found = list(search(file, 3, len(content), SEED, 10, legacy=False))
    assert [(raw.position, raw.sequence) for raw in found] == wanted
    for raw in found:
        assert raw == decode_at(bytes(content), raw.position, raw.position, SEED, legacy=False)


@pytest.mark.parametrize("legacy", [False, True])
def test_headers_that_a_client_made_up_cost_no_more_than_their_number(legacy: bool) -> None:
    """Each of them claims a payload up to the end, and none has a checksum that holds."""
    count = 20_000
    size = count * HEADER.size
    flags, gap = (0, 0) if legacy else (FLAG_OURS, 1)
    content = b"".join(
        HEADER.pack(MAGIC, 3, flags, gap, size - (n + 1) * HEADER.size, n, 11 + n)
        for n in range(count)
    )
    fs, file = file_of(content)
    fs.tracing = True
    assert list(search(file, 0, size, 0 if legacy else SEED, 10, legacy=legacy)) == []
    bytes_read = sum(call.size for call in fs.trace if call.operation == "pread")
    assert bytes_read < count * 4 * 1024  # one after the other whole: 4.8 GB
