"""Kill the server at random moments: what it then holds is told exactly, request by request.

Four writers create, apply, delete, with and without idempotency keys, alone and in atomic
batches, sixteen requests in flight each; a watcher resumes after each kill. SIGKILL loses
nothing under any fsync policy: what was written belongs to the operating system.

The seed is printed and taken from RSTMDB_TEST_SEED; RSTMDB_TEST_SCALE multiplies the kills of
the long form. A failure leaves the data directory and the writers' journals in pytest's folder.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from history import RING, Author, Follower, Worker, hold_against_log, last_event
from rstmdb_server.testing import ServerProcess, ServerStartError
from wire import Wire

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
SCALE = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
PLAIN = {"RSTMDB_COMPACT_ENABLED": "false"}
COMPACTING = {"RSTMDB_COMPACT_EVENTS": "300", "RSTMDB_COMPACT_INTERVAL": "0"}
VARIANTS = {
    "every_write": PLAIN,
    "every_n:50": PLAIN,
    "every_ms:20": PLAIN,
    "never": PLAIN,
    "every_write, compacting": COMPACTING,
    "every_ms:20, compacting": COMPACTING,
}


class Life:
    """One data directory from its first start to its last."""

    def __init__(self, folder: Path, variant: str) -> None:
        seed = f"{SEED} {variant}"
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        policy = variant.partition(",")[0]
        self.compacting = VARIANTS[variant] is COMPACTING
        self.server = ServerProcess(
            folder,
            {
                "RSTMDB_FSYNC_POLICY": policy,
                "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
                "RSTMDB_COMPRESS_FROM": "0",
                **VARIANTS[variant],
            },
        )
        self.authors = [
            Author(f"w{number}", random.Random(f"{seed} {number}"), folder) for number in range(4)
        ]
        self.follower = Follower()
        self.recoveries_killed = 0
        self.loads: list[int] = []

    def connect(self) -> Wire:
        return Wire(self.server.host, self.server.port)

    def load_and_kill(self) -> None:
        """One round: start, see what is there, write, watch, and be killed in the midst of it."""
        if self.rng.random() < 0.25:
            self._kill_in_recovery()
        with self.server, self.connect() as watching:
            self.follower.resume(watching)
            with self.connect() as wire:
                self._settle(wire)
            workers = [Worker(watching, self.follower.follow)]
            workers += [Worker(self.connect(), author.write) for author in self.authors]
            self._wait_for_the_moment(workers)
            self.server.kill()
            for worker in workers:
                worker.ended()

    def _wait_for_the_moment(self, workers: list[Worker]) -> None:
        """Until so many more writes are acknowledged, few or many: no slow machine tests less."""
        if not self.loads:
            self.loads = [10, 200, 1000]
            self.rng.shuffle(self.loads)
        enough = self.acknowledged() + int(self.loads.pop() * self.rng.uniform(0.5, 1))
        deadline = time.monotonic() + 60
        while self.acknowledged() < enough:
            for worker in workers:
                worker.check_working()
            assert time.monotonic() < deadline, "the server acknowledges too little"
            time.sleep(0.001)
        time.sleep(self.rng.uniform(0, 0.005))
        for worker in workers:
            worker.check_working()

    def acknowledged(self) -> int:
        """Writes acknowledged so far."""
        return sum(len(author.acknowledged) for author in self.authors)

    def _settle(self, wire: Wire) -> None:
        for author in self.authors:
            author.settle(wire)
            wire.call("PUT_MACHINE", machine=author.name, version=1, definition=RING)
        # What anyone was ever told of is there, and behind all that is given out from now on.
        head = wire.call("WAL_STATS")["latest_offset"]
        assert self.follower.last <= head
        for author in self.authors:
            assert author.floor <= head
            author.floor = head

    def _kill_in_recovery(self) -> None:
        """Start, and die at once or a little later, perhaps before anything is served."""
        killing = threading.Timer(self.rng.uniform(0.1, 0.5), self.server.kill)
        killing.start()
        try:
            self.server.start()
        except ServerStartError:
            self.recoveries_killed += 1
        killing.join()
        self.server.kill()

    def end(self) -> int:
        """Start once more and compare everything; stop in order, start, compare again."""
        with self.server:
            with self.connect() as wire, self.connect() as watching:
                for author in self.authors:
                    author.settle(wire)
                self.follower.resume(watching)
                self.follower.follow_to(watching, last_event(wire))
                records = hold_against_log(wire, self.authors, self.follower)
                if self.compacting:
                    wire.call("COMPACT")  # on a slow machine none may have come due so far
                    assert wire.call("WAL_READ", from_offset=0)["records"][0]["sequence"] > 1
            assert self.server.stop() == 0
            self.server.start()
            with self.connect() as wire:
                for author in self.authors:
                    author.settle(wire)
                hold_against_log(wire, self.authors, self.follower)
        return records


def live(folder: Path, variant: str, kills: int) -> None:
    life = Life(folder, variant)
    for _ in range(kills):
        life.load_and_kill()
    records = life.end()
    authors = life.authors
    applied = sum(author.unanswered_applied for author in authors)
    lost = sum(author.unanswered_lost for author in authors)
    repeats = sum(author.repeats for author in authors)
    print(
        f"{variant}: {kills} kills under load and {life.recoveries_killed} in recovery, "
        f"{life.acknowledged()} acknowledged writes, none lost; of the unanswered "
        f"requests {applied} were there and {lost} not; {repeats} keyed writes repeated, none "
        f"applied twice; {len(life.follower.events)} events watched, {records} records kept"
    )
    assert repeats > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_few_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, variant: str) -> None:
    live(tmp_path, variant, 3)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("variant", VARIANTS)
def test_many_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, variant: str) -> None:
    live(tmp_path, variant, 50 * SCALE)
