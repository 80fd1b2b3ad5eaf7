"""What writers have sent and what was acknowledged, and what a log must hold because of it."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wire import Json, Refused, Wire

COUNTER: Json = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "COUNT", "to": "on"}],
}
PIPELINE = 8


@dataclass
class Journal:
    """One writer's own record: appended to before the next request goes out."""

    name: str
    sent: int = 0
    """The highest number sent."""
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Offset by number."""
    unanswered: list[int] = field(default_factory=list)
    """Numbers that were in flight when the connection broke."""


class Writer(threading.Thread):
    """Counts upwards in two instances of its own until the connection breaks.

    Number n goes to instance n % 2 as an event with the payload {"n": n} and the idempotency
    key of that number; every fifth number is an atomic batch that counts in both. What was
    in flight when the server died is sent again first, under the same keys.
    """

    def __init__(self, connect: Callable[[], Wire], journal: Journal) -> None:
        super().__init__(daemon=True)
        self._connect = connect
        self.journal = journal
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with self._connect() as wire:
                self._write(wire)
        except (EOFError, OSError):
            return  # the server was killed
        except Exception as error:  # noqa: BLE001 (told by the test's own thread)
            self.failure = error

    def _write(self, wire: Wire) -> None:
        journal = self.journal
        for half in (0, 1):
            try:
                wire.call(
                    "CREATE_INSTANCE", machine="counter", version=1,
                    instance_id=f"{journal.name}-{half}",
                )  # fmt: skip
            except Refused as refused:
                assert refused.code == "INSTANCE_EXISTS"  # noqa: PT017 (any other is a failure)
        for number in list(journal.unanswered):
            self._take(number, wire.response(self._send(wire, number)))
            journal.unanswered.remove(number)
        flight: list[tuple[str, int]] = []
        while True:
            while len(flight) < PIPELINE:
                journal.sent += 1
                journal.unanswered.append(journal.sent)
                flight.append((self._send(wire, journal.sent), journal.sent))
            request_id, number = flight.pop(0)
            self._take(number, wire.response(request_id))
            journal.unanswered.remove(number)

    def _send(self, wire: Wire, number: int) -> str:
        if number % 5:
            return wire.send("APPLY_EVENT", self._params(number, number % 2))
        ops = [{"op": "APPLY_EVENT", "params": self._params(number, half)} for half in (0, 1)]
        return wire.send("BATCH", {"mode": "atomic", "ops": ops})

    def _params(self, number: int, half: int) -> Json:
        return {
            "instance_id": f"{self.journal.name}-{half}",
            "event": "COUNT",
            "payload": {"n": number},
            "idempotency_key": str(number),
        }

    def _take(self, number: int, answer: Json) -> None:
        assert answer["status"] == "ok", answer
        result = answer["result"]
        if "results" in result:
            result = result["results"][-1]["result"]
        self.journal.acknowledged[number] = result["wal_offset"]


def read_log(wire: Wire) -> dict[int, Json]:
    """The whole log that is kept: entries by offset, in order."""
    found: dict[int, Json] = {}
    at = 0
    sequence = None
    while True:
        page = wire.call("WAL_READ", from_offset=at, limit=1000)
        if not page["records"]:
            return found
        for record in page["records"]:
            assert sequence is None or record["sequence"] == sequence + 1
            sequence = record["sequence"]
            assert not found or record["offset"] > next(reversed(found))
            found[record["offset"]] = record["entry"]
        at = page["next_offset"]


def check(wire: Wire, journals: list[Journal], seen: dict[int, str]) -> None:
    """Hold the log and the instances against what the writers have written down.

    `seen` keeps every entry ever read by its offset: none may change or be given out twice.
    """
    log = read_log(wire)
    earliest = wire.call("WAL_STATS")["earliest_offset"]
    for offset, entry in log.items():
        text = json.dumps(entry, sort_keys=True)
        assert seen.setdefault(offset, text) == text, f"offset {offset} was given out twice"
    counts = {
        offset: entry
        for offset, entry in log.items()
        if entry["type"] == "apply_event" and entry["event"] == "COUNT"
    }
    for journal in journals:
        _check_journal(wire, journal, counts, earliest)


def _check_journal(wire: Wire, journal: Journal, counts: dict[int, Json], earliest: int) -> None:
    for number, offset in journal.acknowledged.items():
        if offset >= earliest:
            assert offset in counts, f"{journal.name}: {number} was acknowledged at {offset}"
            assert counts[offset]["payload"] == {"n": number}
    mine = [e for e in counts.values() if e["instance_id"].startswith(f"{journal.name}-")]
    times = Counter(entry["payload"]["n"] for entry in mine)
    for number, found in times.items():
        if number % 5:
            assert found == 1, f"{journal.name}: {number} was applied {found} times"
        elif number > min(times):  # the oldest may have lost its first half to compaction
            assert found == 2, f"{journal.name}: half of the atomic batch {number} is there"
    numbers = [entry["payload"]["n"] for entry in mine]
    assert numbers == sorted(numbers), f"{journal.name}: out of order"
    if numbers:
        whole = range(min(numbers), max(numbers) + 1)
        assert set(numbers) == set(whole), f"{journal.name}: a hole in its history"
    _check_instances(wire, journal)


def _check_instances(wire: Wire, journal: Journal) -> None:
    """Each instance is where the last acknowledged write left it, or a sent one after that."""
    for half in (0, 1):
        mine = [n for n in journal.acknowledged if n % 5 == 0 or n % 2 == half]
        if not mine:
            continue
        found = wire.call("GET_INSTANCE", instance_id=f"{journal.name}-{half}")["ctx"]["n"]
        assert max(mine) <= found <= journal.sent, f"{journal.name}-{half} is at {found}"


class Watcher(threading.Thread):
    """Watches all counters, resuming behind the last event that it saw."""

    def __init__(self, connect: Callable[[], Wire], seen: list[int]) -> None:
        super().__init__(daemon=True)
        self._connect = connect
        self.seen = seen
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with self._connect() as wire:
                begin = self.seen[-1] + 1 if self.seen else 0
                wire.call("WATCH_ALL", machines=["counter"], from_offset=begin)
                while True:
                    self.seen.append(wire.event()["wal_offset"])
        except (EOFError, OSError):
            return
        except Exception as error:  # noqa: BLE001 (told by the test's own thread)
            self.failure = error


def pause(rng: random.Random) -> float:
    """How long a server lives: seconds, sometimes hardly any."""
    return rng.choice((0.02, 0.1, 0.3)) * (0.5 + rng.random())


def raise_failures(threads: list[Any]) -> None:
    """Raise what a writer or watcher ran into, other than the death of the server."""
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
        if thread.failure is not None:
            raise thread.failure
