"""Writers that know exactly what a killed server must hold, and a watcher that misses nothing.

A connection's requests are taken in the order sent and the log is a prefix of history. So what
a restarted server holds of a writer is what it had acknowledged and then a prefix of what was in
flight: `Author.settle` finds that prefix, and fails where no prefix explains what is there.
"""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from wire import Json, Wire

STATES = ("a", "b", "c")
RING: Json = {
    "states": list(STATES),
    "initial": "a",
    "transitions": [
        {"from": "a", "event": "STEP", "to": "b"},
        {"from": "b", "event": "STEP", "to": "c"},
        {"from": "c", "event": "STEP", "to": "a"},
    ],
}
PIPELINE = 16
LIVING = 40
"""About as many instances as a writer keeps."""


@lru_cache(maxsize=512)
def content(n: int) -> Json:
    """The context and payload of number n: some are large, so that segments fill and tear."""
    size = 4000 if n % 5 == 0 else 20
    return {"n": n, "text": random.Random(n).randbytes(size).hex()}


class Step(NamedTuple):
    """One write. `n` is unique within its writer."""

    op: str
    instance_id: str
    n: int
    key: str | None

    def params(self, machine: str) -> Json:
        """As the wire has it."""
        params: Json = {"instance_id": self.instance_id}
        if self.op == "CREATE_INSTANCE":
            params |= {"machine": machine, "version": 1, "initial_ctx": content(self.n)}
        elif self.op == "APPLY_EVENT":
            params |= {"event": "STEP", "payload": content(self.n)}
        return params if self.key is None else params | {"idempotency_key": self.key}

    def entry(self) -> tuple[str, str, int]:
        """The entry that it leaves in the log: type, instance, number (0 for a delete)."""
        return self.op.lower(), self.instance_id, 0 if self.op == "DELETE_INSTANCE" else self.n


class Request(NamedTuple):
    """One step, or several as an atomic batch."""

    steps: tuple[Step, ...]

    def keyed(self) -> bool:
        """Whether it may be sent again."""
        return all(step.key is not None for step in self.steps)

    def send(self, wire: Wire, machine: str) -> str:
        """Send it; its id."""
        ops = [{"op": step.op, "params": step.params(machine)} for step in self.steps]
        if len(ops) == 1:
            return wire.send(ops[0]["op"], ops[0]["params"])
        return wire.send("BATCH", {"mode": "atomic", "ops": ops})


class Instance(NamedTuple):
    """`offset` is None where the record's place was never told."""

    state: str
    n: int
    offset: int | None


class Done(NamedTuple):
    """What a step comes to; `repeat` where its key says that it was done before."""

    result: Json
    repeat: bool


class Model:
    """What a writer's part of the database must be after the requests taken so far."""

    def __init__(self) -> None:
        self.living: dict[str, Instance] = {}
        self.keys: dict[tuple[str, str, str], Json] = {}
        self.history: list[tuple[str, str, int]] = []

    def copy(self) -> Model:
        """One that can go on by itself."""
        other = Model()
        other.living = dict(self.living)
        other.keys = dict(self.keys)
        other.history = list(self.history)
        return other

    def take(self, request: Request) -> list[Done] | str:
        """Do all of a request, or nothing; what its steps come to, or the code of its refusal."""
        living = set(self.living)
        for step in request.steps:
            if self._remembered(step) is not None:
                continue
            if step.op == "CREATE_INSTANCE":
                living.add(step.instance_id)
            elif step.instance_id not in living:
                return "INSTANCE_NOT_FOUND"
            elif step.op == "DELETE_INSTANCE":
                living.remove(step.instance_id)
        return [self._do(step) for step in request.steps]

    def _remembered(self, step: Step) -> Json | None:
        return None if step.key is None else self.keys.get((step.op, step.instance_id, step.key))

    def _do(self, step: Step) -> Done:
        remembered = self._remembered(step)
        if remembered is not None:
            return Done(remembered, repeat=True)
        name = step.instance_id
        result: Json
        if step.op == "CREATE_INSTANCE":
            self.living[name] = Instance("a", step.n, None)
            result = {"instance_id": name, "state": "a"}
        elif step.op == "DELETE_INSTANCE":
            del self.living[name]
            result = {"instance_id": name, "deleted": True}
        else:
            was = self.living[name].state
            to = STATES[(STATES.index(was) + 1) % 3]
            self.living[name] = Instance(to, step.n, None)
            result = {"from_state": was, "to_state": to, "ctx": content(step.n), "applied": True}
        if step.key is not None:
            self.keys[step.op, name, step.key] = result
        self.history.append(step.entry())
        return Done(result, repeat=False)

    def placed(self, step: Step, offset: int) -> None:
        """Learn where the record of a step lies."""
        if step.key is not None:
            self.keys[step.op, step.instance_id, step.key]["wal_offset"] = offset
        now = self.living.get(step.instance_id)
        if now is not None and now.n == step.n:
            self.living[step.instance_id] = now._replace(offset=offset)

    def explains(self, found: dict[str, Instance]) -> bool:
        """Whether these are the instances; an offset never told may be any."""
        return found.keys() == self.living.keys() and all(
            (now.state, now.n) == (found[name].state, found[name].n)
            and now.offset in (None, found[name].offset)
            for name, now in self.living.items()
        )


@dataclass
class Author:
    """One writer over the whole life of the data directory. Its machine has its name."""

    name: str
    rng: random.Random
    folder: Path
    model: Model = field(default_factory=Model)
    acknowledged: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    """What was acknowledged, by offset."""
    again: list[Request] = field(default_factory=list)
    """Keyed requests to repeat at the next start: the unanswered ones, and some answered."""
    unanswered_applied: int = 0
    unanswered_lost: int = 0
    repeats: int = 0
    floor: int = 0
    """All offsets given out from now on must be above it."""

    _numbers: int = 0
    _rounds: int = 0
    _living: list[str] = field(default_factory=list)
    _recent: deque[Request] = field(default_factory=lambda: deque(maxlen=5))

    @property
    def journal(self) -> Path:
        """What was sent and acknowledged since the last start: a JSON line each."""
        return self.folder / f"{self.name}-{self._rounds}.jsonl"

    def write(self, wire: Wire) -> None:
        """Send requests, many in flight, until the connection breaks.

        Each acknowledgement is in the journal before the next request goes out.
        """
        flight: deque[tuple[str, Request]] = deque()
        with self.journal.open("a") as journal:
            while True:
                while len(flight) < PIPELINE:
                    request = self.again.pop(0) if self.again else self._invent()
                    _note(journal, "sent", request)
                    flight.append((request.send(wire, self.name), request))
                request_id, request = flight[0]
                answer = wire.response(request_id)
                _note(journal, "answered", answer["status"])
                flight.popleft()
                self._take(request, answer)

    def _invent(self) -> Request:
        rng = self.rng
        steps = []
        touched: set[str] = set()
        for _ in range(rng.randint(2, 5) if rng.random() < 0.15 else 1):
            keyed = rng.random() < 0.5
            self._numbers += 1
            key = f"k{self._numbers}" if keyed else None
            pick = rng.choice(self._living) if self._living else ""
            if len(self._living) < LIVING * rng.random() or not pick or pick in touched:
                pick, op = f"{self.name}-{self._numbers}", "CREATE_INSTANCE"
                self._living.append(pick)
            elif rng.random() < 0.2:
                op = "DELETE_INSTANCE"
                self._living.remove(pick)
            else:
                op = "APPLY_EVENT"
            touched.add(pick)
            steps.append(Step(op, pick, self._numbers, key))
        return Request(tuple(steps))

    def _take(self, request: Request, answer: Json) -> None:
        """Hold an answer against what it must be, and remember what it says."""
        expected = self.model.take(request)
        if isinstance(expected, str):
            assert answer["status"] == "error", (request, answer)
            assert answer["error"]["code"] == expected, (request, answer)
            return
        assert answer["status"] == "ok", (self.name, request, answer)
        results = [answer["result"]]
        if len(request.steps) > 1:
            results = [item["result"] for item in results[0]["results"]]
        for step, done, result in zip(request.steps, expected, results, strict=True):
            due = done.result
            if done.repeat:
                self.repeats += 1
                due = due | ({"applied": False} if "applied" in due else {})
            assert {name: result[name] for name in due} == due, (self.name, step, result, due)
            if not done.repeat:
                offset = result["wal_offset"]
                assert offset > self.floor, f"{self.name}: {offset} was behind {self.floor}"
                self.floor = offset
                self.acknowledged[offset] = step.entry()
                self.model.placed(step, offset)
        if request.keyed():
            self._recent.append(request)

    def unanswered(self) -> list[Request]:
        """What the journal says was in flight when the server died, in the order sent."""
        if not self.journal.exists():
            return []
        notes = [json.loads(line) for line in self.journal.read_text().splitlines()]
        sent = [note["sent"] for note in notes if "sent" in note]
        answered = sum("answered" in note for note in notes)
        return [Request(tuple(Step(*step) for step in steps)) for [steps] in sent[answered:]]

    def settle(self, wire: Wire) -> None:
        """Find which prefix of the unanswered requests a restarted server holds."""
        found = self._instances(wire)
        unanswered = self.unanswered()
        model = self.model.copy()
        taken = 0
        while not model.explains(found):
            if taken == len(unanswered):
                raise AssertionError(self._unexplained(found, unanswered))
            model.take(unanswered[taken])
            taken += 1
        last = max(self.acknowledged, default=0)
        for name, instance in found.items():
            assert instance.offset is not None
            known = model.living[name].offset
            assert known is not None or instance.offset > last, f"{name} went back in the log"
            model.living[name] = instance
        self.model = model
        self.unanswered_applied += taken
        self.unanswered_lost += len(unanswered) - taken
        self.again = [request for request in (*self._recent, *unanswered) if request.keyed()]
        self._living = list(model.living)
        self._rounds += 1

    def _instances(self, wire: Wire) -> dict[str, Instance]:
        listed = wire.call("LIST_INSTANCES", machine=self.name, limit=10_000)
        names = [item["id"] for item in listed["instances"]]
        ids = [wire.send("GET_INSTANCE", {"instance_id": name}) for name in names]
        found = {}
        for name, request_id in zip(names, ids, strict=True):
            got = wire.response(request_id)["result"]
            assert got["ctx"] == content(got["ctx"]["n"]), f"{name} holds half of a context"
            found[name] = Instance(got["state"], got["ctx"]["n"], got["last_wal_offset"])
        return found

    def _unexplained(self, found: dict[str, Instance], unanswered: list[Request]) -> str:
        due = self.model.living
        return (
            f"{self.name}: no prefix of {len(unanswered)} unanswered requests explains what is "
            f"there; acknowledged and not so: { {k: v for k, v in due.items() if found.get(k) != v} }, "
            f"there instead: { {k: v for k, v in found.items() if due.get(k) != v} }; "
            f"in flight: {unanswered}"
        )


def _note(journal: Any, what: str, value: Any) -> None:
    journal.write(json.dumps({what: value}) + "\n")
    journal.flush()


class Follower:
    """Watches everything, over restarts, from one past the last event that it saw."""

    def __init__(self) -> None:
        self.events: list[Json] = []

    @property
    def last(self) -> int:
        """The offset of the last event."""
        return int(self.events[-1]["wal_offset"]) if self.events else 0

    def resume(self, wire: Wire) -> None:
        """Go on where it was."""
        wire.call("WATCH_ALL", from_offset=self.last + 1 if self.events else 0)

    def follow(self, wire: Wire) -> None:
        """Take events until the connection breaks."""
        while True:
            self._take(wire.event())

    def follow_to(self, wire: Wire, offset: int) -> None:
        """Take events up to that of an offset."""
        while self.last < offset:
            self._take(wire.event())

    def _take(self, event: Json) -> None:
        assert event["wal_offset"] > self.last, f"{event} after {self.last}"
        del event["subscription_id"], event["type"]
        self.events.append(event)


class Worker(threading.Thread):
    """Does something with a connection until the server is killed."""

    def __init__(self, wire: Wire, work: Callable[[Wire], None]) -> None:
        super().__init__(daemon=True)
        self._wire = wire
        self._work = work
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with self._wire as wire:
                self._work(wire)
        except (EOFError, ConnectionError):
            return  # the server was killed
        except Exception as error:  # noqa: BLE001 (told by the test's own thread)
            self.failure = error

    def check_working(self) -> None:
        """Fail if it has ended, which only a kill may bring about."""
        if not self.is_alive():
            self.ended()
            raise AssertionError("the server closed a connection before it was killed")

    def ended(self) -> None:
        """Wait for the end, and raise what was found wrong."""
        self.join(30)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure


def hold_against_log(wire: Wire, authors: list[Author], follower: Follower) -> int:
    """Compare the log, as far as it is kept, with all that was written and watched.

    Returns the number of records.
    """
    records = _read_log(wire)
    stats = wire.call("WAL_STATS")
    earliest = stats["earliest_offset"]
    whole = records[0]["sequence"] == 1
    by_offset = {record["offset"]: record["entry"] for record in records}
    assert list(by_offset) == sorted(by_offset)
    assert len(by_offset) == len(records)
    first = records[0]["sequence"]
    assert [r["sequence"] for r in records] == list(range(first, first + len(records)))
    for author in authors:
        mine = {o: _entry(e) for o, e in by_offset.items() if _is_of(e, author.name)}
        history = author.model.history
        due = history if whole else history[len(history) - len(mine) :]
        assert list(mine.values()) == due, f"{author.name}: the log tells another history"
        for offset, entry in author.acknowledged.items():
            if offset >= earliest:
                assert mine.get(offset) == entry, f"{author.name}: {entry} is not at {offset}"
        watched = [
            ("apply_event", event["instance_id"], event["payload"]["n"])
            for event in follower.events
            if event["machine"] == author.name
        ]
        applied = [entry for entry in history if entry[0] == "apply_event"]
        assert watched == applied, f"{author.name}: the watcher saw another history"
    logged = [_event(o, e) for o, e in by_offset.items() if e["type"] == "apply_event"]
    assert follower.events[len(follower.events) - len(logged) :] == logged
    assert not whole or len(follower.events) == len(logged)
    return len(records)


def last_event(wire: Wire) -> int:
    """The offset of the last event in the log; 0 for none."""
    applied = [r["offset"] for r in _read_log(wire) if r["entry"]["type"] == "apply_event"]
    return applied[-1] if applied else 0


def _read_log(wire: Wire) -> list[Json]:
    records: list[Json] = []
    position = 0
    while (page := wire.call("WAL_READ", from_offset=position, limit=1000))["records"]:
        records += page["records"]
        position = page["next_offset"]
    return records


def _is_of(entry: Json, machine: str) -> bool:
    return entry.get("machine") == machine and "instance_id" in entry


def _entry(entry: Json) -> tuple[str, str, int]:
    held = entry.get("payload") or entry.get("initial_ctx") or {"n": 0}
    return entry["type"], entry["instance_id"], held["n"]


def _event(offset: int, entry: Json) -> Json:
    names = ("instance_id", "machine", "version", "from_state", "to_state", "event", "payload",
             "ctx")  # fmt: skip
    return {"wal_offset": offset} | {name: entry[name] for name in names}
