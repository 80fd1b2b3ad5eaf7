"""Writers that know exactly what a killed server must hold, and a watcher that misses nothing.

A connection's requests are taken in the order sent and the log is a prefix of history. So what
a restarted server holds of a writer is what it had acknowledged and then a prefix of what was in
flight: `Author.settle` finds that prefix, and fails where no prefix explains what is there.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
        if len(self.steps) == 1:
            return wire.send(self.steps[0].op, self.steps[0].params(machine))
        ops = [{"op": step.op, "params": step.params(machine)} for step in self.steps]
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
        self.deleted: dict[str, Json] = {}
        self.keys: dict[tuple[str, str, str], Json] = {}
        self.history: list[tuple[str, str, int]] = []

    def copy(self) -> Model:
        """One that can go on by itself."""
        other = Model()
        other.living = dict(self.living)
        other.deleted = dict(self.deleted)
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
        if step.op == "DELETE_INSTANCE" and step.instance_id in self.deleted:
            return self.deleted[step.instance_id]
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
            result = self.deleted[name] = {"instance_id": name, "deleted": True}
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
        if step.op == "DELETE_INSTANCE":
            self.deleted[step.instance_id]["wal_offset"] = offset
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
                    if self.again and _deletes_what_is_created(self.again[0], flight):
                        break
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
            elif rng.random() < 0.2 and pick in self.model.living:
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
        self._check_unambiguous(model, found, unanswered[taken:])
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

    def _check_unambiguous(
        self, model: Model, found: dict[str, Instance], rest: list[Request]
    ) -> None:
        longer = model.copy()
        for request in rest:
            longer.take(request)
            same = longer.history == model.history  # it was a repeat
            assert same or not longer.explains(found), f"{self.name}: {request} may be there"

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
        missing = {name: now for name, now in due.items() if found.get(name) != now}
        instead = {name: now for name, now in found.items() if due.get(name) != now}
        return (
            f"{self.name}: no prefix of the unanswered requests explains what is there\n"
            f"acknowledged and not so: {missing}\nthere instead: {instead}\n"
            f"in flight: {unanswered}"
        )


def _deletes_what_is_created(request: Request, flight: Iterable[tuple[str, Request]]) -> bool:
    doomed = {step.instance_id for step in request.steps if step.op == "DELETE_INSTANCE"}
    return any(
        step.instance_id in doomed
        for _, sent in flight
        for step in sent.steps
        if step.op == "CREATE_INSTANCE"
    )


def _note(journal: Any, what: str, value: Any) -> None:
    journal.write(json.dumps({what: value}) + "\n")
    journal.flush()


class Event(NamedTuple):
    """An event as watched or as logged; `digest` is that of all its fields."""

    offset: int
    machine: str
    instance_id: str
    n: int
    digest: str

    @classmethod
    def of(cls, offset: int, told: Json) -> Event:
        """From a message to a watcher or an entry of the log."""
        names = ("version", "from_state", "to_state", "event", "payload", "ctx")
        text = json.dumps([told[name] for name in names], sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return cls(offset, told["machine"], told["instance_id"], told["payload"]["n"], digest)


class Follower:
    """Watches everything, over restarts, from one past the last event that it saw."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    def last(self) -> int:
        """The offset of the last event; 0 before the first."""
        return self.events[-1].offset if self.events else 0

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

    def _take(self, message: Json) -> None:
        event = Event.of(message["wal_offset"], message)
        assert event.offset > self.last, f"{event} after {self.events[-1]}"
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

    Returns the number of records. The follower is up to date.
    """
    earliest = wire.call("WAL_STATS")["earliest_offset"]
    entries: dict[str, dict[int, tuple[str, str, int]]] = {one.name: {} for one in authors}
    events: list[Event] = []
    first = count = position = 0
    for record in read_log(wire):
        first = first or record["sequence"]
        assert record["sequence"] == first + count
        assert record["offset"] > position
        position = record["offset"]
        count += 1
        entry = record["entry"]
        if "instance_id" in entry:
            entries[entry["machine"]][position] = _short(entry)
        if entry["type"] == "apply_event":
            events.append(Event.of(position, entry))
    whole = first == 1
    for author in authors:
        mine = entries[author.name]
        history = author.model.history
        due = history if whole else history[len(history) - len(mine) :]
        assert list(mine.values()) == due, f"{author.name}: the log tells another history"
        for offset, short in author.acknowledged.items():
            if offset >= earliest:
                assert mine.get(offset) == short, f"{author.name}: {short} is not at {offset}"
        seen = [(e.instance_id, e.n) for e in follower.events if e.machine == author.name]
        applied = [(name, n) for kind, name, n in history if kind == "apply_event"]
        assert seen == applied, f"{author.name}: the watcher saw another history"
    assert follower.events[len(follower.events) - len(events) :] == events
    assert len(follower.events) == len(events) or not whole
    return count


def read_log(wire: Wire) -> Iterator[Json]:
    """All records that are kept."""
    position = 0
    while (page := wire.call("WAL_READ", from_offset=position, limit=1000))["records"]:
        yield from page["records"]
        position = page["next_offset"]


def last_event(wire: Wire) -> int:
    """The offset of the last event in the log; 0 for none."""
    applied = (r["offset"] for r in read_log(wire) if r["entry"]["type"] == "apply_event")
    return max(applied, default=0)


def _short(entry: Json) -> tuple[str, str, int]:
    held = entry.get("payload") or entry.get("initial_ctx") or {"n": 0}
    return entry["type"], entry["instance_id"], held["n"]
