"""kill -9 under load, again and again, on one directory: nothing acknowledged is lost.

A process's death leaves what it wrote to its files in the hands of the operating system, so
that this holds under every fsync policy. The seed is printed and taken from RSTMDB_TEST_SEED;
RSTMDB_TEST_SCALE multiplies the long form.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from journal import COUNTER, Journal, Watcher, Writer, check, pause, raise_failures, read_log
from rstmdb_server.testing import ServerProcess
from wire import Wire

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
SCALE = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
POLICIES = ("every_write", "every_n:10", "every_ms:20", "never")


def kill_again_and_again(folder: Path, policy: str, kills: int, *, compaction: bool) -> None:
    seed = f"{SEED}-{policy}-{compaction}"
    print(f"seed {seed}, {kills} kills")
    rng = random.Random(seed)
    env = {
        "RSTMDB_FSYNC_POLICY": policy,
        "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
        "RSTMDB_COMPACT_ENABLED": str(compaction).lower(),
        "RSTMDB_COMPACT_EVENTS": "500",
        "RSTMDB_COMPACT_INTERVAL": "0",
    }
    server = ServerProcess(folder, env)
    journals = [Journal(f"w{number}") for number in range(4)]
    seen: dict[int, str] = {}
    watched: list[int] = []

    def connect() -> Wire:
        return Wire(server.host, server.port)

    for _ in range(kills):
        with server:
            with connect() as wire:
                wire.call("PUT_MACHINE", machine="counter", version=1, definition=COUNTER)
                check(wire, journals, seen)
            threads: list[Writer | Watcher] = [Writer(connect, one) for one in journals]
            if not compaction:
                threads.append(Watcher(connect, watched))
            for thread in threads:
                thread.start()
            time.sleep(pause(rng))
            server.kill()
            raise_failures(threads)
    with server, connect() as wire:
        check(wire, journals, seen)
        if not compaction:
            _check_watcher(connect(), wire, watched)
    acknowledged = sum(len(journal.acknowledged) for journal in journals)
    print(f"{policy}: {kills} kills, {acknowledged} acknowledged writes, none lost")
    assert acknowledged > 10 * kills


def _check_watcher(fresh: Wire, wire: Wire, watched: list[int]) -> None:
    """The watcher saw every event exactly once, in order, over all of its connections."""
    expected = [
        offset for offset, entry in read_log(wire).items() if entry["type"] == "apply_event"
    ]
    with fresh:
        fresh.call("WATCH_ALL", machines=["counter"], from_offset=watched[-1] + 1)
        while len(watched) < len(expected):
            watched.append(fresh.event()["wal_offset"])
    assert watched == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_three_kills_lose_nothing(tmp_path: Path, policy: str) -> None:
    kill_again_and_again(tmp_path, policy, 3, compaction=False)


def test_three_kills_during_compactions_lose_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, "every_write", 3, compaction=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("compaction", [False, True], ids=["log", "compacting"])
@pytest.mark.parametrize("policy", POLICIES)
def test_many_kills_lose_nothing(tmp_path: Path, policy: str, compaction: bool) -> None:
    kill_again_and_again(tmp_path, policy, 25 * SCALE, compaction=compaction)
