"""Random work, power losses, crashes at every call: what was released must be there."""

import errno
import os
import random
from collections.abc import Iterator

import pytest

from rstmdb_wal import BatchTooLarge, FsyncPolicy, Log, LogOptions, Record
from rstmdb_wal.testing import SimulatedCrash, SimulatedFileSystem, open_log

SCALE = float(os.environ.get("RSTMDB_TEST_SCALE", "1"))


def options(policy: FsyncPolicy, rand: random.Random) -> LogOptions:
    return LogOptions(
        segment_bytes=1500,
        policy=policy,
        compress_from_bytes=400,
        preallocate_bytes=rand.choice((0, 300, 10_000)),
    )


class History:
    """What a user of the log knows: what was appended, and what it was told."""

    def __init__(self) -> None:
        self.appended: list[tuple[int, bytes, bool]] = []  # offset, payload, more
        self.released = 0  # how many of them, counted from the first
        self.durable = 0
        self.shown: dict[int, bytes] = {}  # every offset that a reader ever saw

    def check(self, records: list[Record], least: int) -> None:
        """The log holds a prefix of the history, whole batches, and at least so much of it."""
        found = [(r.offset, r.payload, r.more) for r in records]
        assert found == self.appended[: len(found)]
        assert len(found) >= least
        assert not found or not found[-1][2]
        assert [r.sequence for r in records] == list(range(1, len(found) + 1))

    def go_on(self, records: list[Record]) -> None:
        del self.appended[len(records) :]
        self.released = self.durable = len(records)


def payload(rand: random.Random, number: int) -> bytes:
    size = rand.choice((0, 5, 50, 200, 600, 2000))
    return b"%d " % number + rand.randbytes(size // 2) + bytes(size // 2)


def stage_batch(log: Log, history: History, rand: random.Random) -> None:
    atomic = rand.random() < 0.7
    payloads = [payload(rand, n) for n in range(rand.randint(1, 5))]
    log.begin_batch(atomic=atomic)
    try:
        offsets = [log.stage(2, p) for p in payloads]
    except BatchTooLarge:
        log.abort_batch()
        log.rotate()
        log.begin_batch(atomic=True)
        offsets = [log.stage(2, p) for p in payloads]
    if rand.random() < 0.1:
        log.abort_batch()
        return
    log.commit_batch()
    last = len(offsets) - 1
    for n, (offset, data) in enumerate(zip(offsets, payloads, strict=True)):
        history.appended.append((offset, data, atomic and n < last))


def work(log: Log, history: History, rand: random.Random, steps: int) -> Iterator[None]:
    """Append, flush, rotate; yield after each step. The history is right whenever this stops."""
    now = 0
    for number in range(steps):
        now += rand.randint(0, 20)
        kind = rand.random()
        if kind < 0.5:
            data = payload(rand, number)
            history.appended.append((log.append(3, data), data, False))
        elif kind < 0.65:
            stage_batch(log, history, rand)
        elif kind < 0.7:
            log.rotate()
        elif log.failed is None:
            flush = log.begin_flush(now, force_sync=rand.random() < 0.05)
            if flush is not None:
                if rand.random() < 0.3:
                    data = payload(rand, number)
                    history.appended.append((log.append(3, data), data, False))
                flush.run()
                result = log.end_flush(flush)
                history.released = log.released_sequence
                history.durable = log.durable_sequence
                if result.failed == "fatal":
                    return
                if result.failed == "full":
                    del history.appended[history.released :]
                for record in log.read(0, limit=10_000):
                    history.shown[record.offset] = record.payload
        yield


def least(history: History, policy: FsyncPolicy) -> int:
    if policy.kind == "every_write":
        return history.released
    if policy.kind == "every_n":
        return max(history.durable, history.released - policy.n + 1)
    return history.durable


def one_life(seed: int, policy: FsyncPolicy, losses: int) -> None:
    """Work, lose power, start again, several times on one directory."""
    rand = random.Random(seed)
    fs = SimulatedFileSystem(seed)
    history = History()
    log = open_log(fs, options(policy, rand)).log
    for _ in range(losses):
        if rand.random() < 0.3:
            fs.inject("pwrite", rand.randint(1, 6), rand.choice((errno.ENOSPC, errno.EIO)))
        if rand.random() < 0.2:
            fs.inject("fdatasync", rand.randint(1, 6), errno.EIO)
        if rand.random() < 0.3:
            fs.crash_at = fs.calls + rand.randint(1, 60)
        try:
            for _ in work(log, history, rand, rand.randint(1, 25)):
                pass
        except SimulatedCrash:
            pass
        killed = rand.random() < 0.3
        fs = fs.crash() if killed else fs.power_loss()
        if rand.random() < 0.3:  # it dies again while it recovers
            fs.crash_at = rand.randint(1, 30)
            try:
                open_log(fs, options(policy, rand))
                fs = fs.crash()
            except SimulatedCrash:
                fs = fs.crash() if killed else fs.power_loss()
        log, records, _ = open_log(fs, options(policy, rand))
        history.check(records, history.released if killed else least(history, policy))
        for record in records:
            assert history.shown.setdefault(record.offset, record.payload) == record.payload
        shown = set(history.shown)
        history.go_on(records)
        gone = shown - {r.offset for r in records}
        assert not gone or max(gone) < log.next_offset  # no offset is given out twice
        assert [(r.offset, r.payload) for r in log.read(0, limit=10_000)] == [
            (r.offset, r.payload) for r in records
        ]


POLICIES = [
    FsyncPolicy.every_write(),
    FsyncPolicy.every_n(5),
    FsyncPolicy.every_ms(50),
    FsyncPolicy.never(),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_after_power_losses_the_log_is_a_prefix_that_holds_what_the_policy_promises(
    policy: FsyncPolicy,
) -> None:
    for seed in range(60):
        one_life(seed, policy, 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_ten_thousand_power_losses(policy: FsyncPolicy) -> None:
    for seed in range(10_000, 10_000 + int(1000 * SCALE)):
        one_life(seed, policy, 10)


def script(fs: SimulatedFileSystem, history: History) -> None:
    """A short workload with all that touches files: batches, rotation, drop, close."""
    setting = LogOptions(segment_bytes=1024, compress_from_bytes=0)
    log, records, _ = open_log(fs, setting)
    history.go_on(records)
    for n in range(12):
        log.begin_batch(atomic=n % 3 == 0)
        for k in range(2):
            data = b"%d.%d " % (n, k) + bytes(60 * n)
            try:
                offset = log.stage(3, data)
            except BatchTooLarge:
                log.abort_batch()
                log.rotate()
                log.begin_batch(atomic=True)
                if k:
                    history.appended.pop()
                    first = b"%d.%d " % (n, 0) + bytes(60 * n)
                    history.appended.append((log.stage(3, first), first, True))
                offset = log.stage(3, data)
            history.appended.append((offset, data, n % 3 == 0 and k == 0))
        log.commit_batch()
        log.flush()
        history.released = log.released_sequence
    log.close()


def test_a_crash_at_every_single_call_loses_nothing_that_was_released() -> None:
    whole = SimulatedFileSystem(1)
    script(whole, History())
    assert whole.calls > 60
    for call in range(1, whole.calls + 1):
        for power in (False, True):
            fs, history = SimulatedFileSystem(call), History()
            fs.crash_at = call
            with pytest.raises(SimulatedCrash):
                script(fs, history)
            fs = fs.power_loss() if power else fs.crash()
            history.check(open_log(fs).records, history.released)


def test_a_crash_at_every_call_of_a_recovery_that_repairs_changes_nothing() -> None:
    fs, history = SimulatedFileSystem(1), History()
    script(fs, history)
    last = f"/data/wal/{fs.names('/data/wal')[-1]}"
    torn = fs.peek(last)[:-10]
    call = 0
    while True:
        call += 1
        for power in (False, True):
            again = SimulatedFileSystem(call)
            again.mkdir_now("/data/wal")
            for name in fs.names("/data/wal"):
                again.poke(f"/data/wal/{name}", fs.peek(f"/data/wal/{name}"))
            again.poke(last, torn)
            again.crash_at = call
            try:
                open_log(again)
            except SimulatedCrash:
                again = again.power_loss() if power else again.crash()
                records = open_log(again).records
                history.check(records, history.released - 1)
                assert len(records) == history.released - 1
                continue
            assert call > 20
            return


def test_a_crash_at_every_call_of_a_drop_shows_no_hole() -> None:
    setting = LogOptions(segment_bytes=1024, compress_from_bytes=0)
    call = 0
    holes = 0
    while True:
        call += 1
        for seed in range(20):
            fs = SimulatedFileSystem(seed)
            log = open_log(fs, setting).log
            offsets = [log.append(3, b"%d" % n + bytes(300)) for n in range(30)]
            log.close()
            fs.crash_at = fs.calls + call
            try:
                log.drop_before(offsets[20])
            except SimulatedCrash:
                fs = fs.power_loss()
                names = fs.names("/data/wal")
                log, records, _ = open_log(fs, setting, after=offsets[20], after_sequence=21)
                assert [r.offset for r in records] == offsets[21:]
                kept = [r.offset for r in log.read(0)]
                assert kept == offsets[-len(kept) :]
                assert len(kept) >= 10
                holes += len(log.segments()) < len(names)
                log.append(3, b"x")
                log.flush()
                log.drop_before(offsets[20])
                assert len(fs.names("/data/wal")) == len(log.segments())
                continue
            assert call > 10
            assert holes > 10
            return
