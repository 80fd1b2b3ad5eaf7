"""Records taken in runs: the same as one by one, whatever the log holds and whatever befell it."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import pytest

from rstmdb_wal import FsyncPolicy, LogDamaged, LogOptions, Recovery
from rstmdb_wal._record import FLAG_OURS, crc_seed, encode
from rstmdb_wal._scan import Walker
from rstmdb_wal.testing import SimulatedFileSystem, open_log

OPTIONS = LogOptions(
    segment_bytes=6000,
    preallocate_bytes=700,
    compress_from_bytes=300,
    policy=FsyncPolicy.every_n(5),
)
SKIP = LogOptions(
    segment_bytes=6000, preallocate_bytes=700, compress_from_bytes=300, recovery="skip_corrupt"
)


def written(rand: random.Random) -> SimulatedFileSystem:
    """Plain records mostly; between them batches, compressed ones, other kinds, new segments."""
    fs = SimulatedFileSystem(rand.randint(0, 1 << 30))
    log = open_log(fs, OPTIONS).log
    for _ in range(rand.randint(0, 150)):
        what = rand.random()
        if what < 0.85:
            log.append(rand.randint(1, 7), rand.randbytes(rand.randint(0, 90)))
        elif what < 0.9:
            log.append(3, bytes(rand.randint(250, 900)))
        elif what < 0.95:
            log.begin_batch(atomic=True)
            for _ in range(rand.randint(1, 4)):
                log.stage(2, rand.randbytes(10))
            log.commit_batch()
        else:
            log.rotate()
        if rand.random() < 0.3:
            log.flush()
    log.flush()
    return fs.power_loss() if rand.random() < 0.5 else fs.crash()


def hurt(fs: SimulatedFileSystem, rand: random.Random) -> None:
    """Flip a bit, cut an end, or leave it alone."""
    names = [name for name in fs.names("/data/wal") if name.endswith(".wal")]
    path = f"/data/wal/{rand.choice(names)}"
    content = bytearray(fs.peek(path))
    if not content or rand.random() < 0.3:
        return
    if rand.random() < 0.5:
        content[rand.randrange(len(content))] ^= 1 << rand.randrange(8)
    else:
        del content[rand.randrange(len(content)) :]
    fs.poke(path, bytes(content))


def outcome(fs: SimulatedFileSystem, options: LogOptions) -> Any:
    """All that a recovery tells and leaves behind, in a copy."""
    copy = SimulatedFileSystem(1)
    copy.mkdir_now("/data/wal")
    for name in fs.names("/data/wal"):
        copy.poke(f"/data/wal/{name}", fs.peek(f"/data/wal/{name}"))
    recovery = Recovery("/data/wal", fs=copy, options=options, database_id=None)
    try:
        records = list(recovery)
    except LogDamaged as error:
        return str(error)
    log = recovery.finish()
    marks = [segment.marks for segment in log._table.all()]
    images = {name: copy.peek(f"/data/wal/{name}") for name in copy.names("/data/wal")}
    rest = (log.next_sequence, log.head, log.durable_sequence, log.earliest, marks)
    report = asdict(recovery.report)
    # One goes back to the very record where proof ends, the other to the step before it.
    report.pop("rewritten_bytes")
    return records, report, rest, images


@pytest.mark.parametrize("options", [OPTIONS, SKIP], ids=["strict", "skip"])
def test_runs_change_nothing(options: LogOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = 0
    for seed in range(60):
        rand = random.Random(seed)
        fs = written(rand)
        hurt(fs, rand)
        in_runs = outcome(fs, options)
        with monkeypatch.context() as patch:
            patch.setattr(Walker, "plain", lambda *_: ([], 0))
            one_by_one = outcome(fs, options)
        assert in_runs == one_by_one, seed
        refused += isinstance(in_runs, str)
    assert refused > 5 or options is SKIP


def test_a_record_whose_gap_makes_no_sense_is_taken_without_a_crash() -> None:
    fs = SimulatedFileSystem()
    log = open_log(fs).log
    log.append(3, b"one")
    log.flush()
    path = "/data/wal/0000000000000001.wal"
    record = encode(3, FLAG_OURS, 0, 2, b"two", crc_seed(log.database_id))
    fs.poke(path, fs.peek(path) + record)
    assert [r.payload for r in open_log(fs.crash()).records] == [b"one", b"two"]
