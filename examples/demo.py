"""The main job as a story: a real server, real clients, a kill in mid-write, nothing lost.

Run it with `nox -s demo`, or with `python examples/demo.py` where the packages are installed.
It exits 0 only if everything that was acknowledged is there, exactly once.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from rstmdb_client import GuardFailedError, InvalidTransitionError, SyncClient
from rstmdb_server.testing import ServerProcess

ORDER = {
    "states": ["created", "paid", "shipped", "delivered", "cancelled"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.items.length > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped", "guard": "ctx.address && !ctx.hold"},
        {"from": "shipped", "event": "DELIVER", "to": "delivered"},
        {"from": ["created", "paid"], "event": "CANCEL", "to": "cancelled"},
    ],
}
COUNTER = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "COUNT", "to": "on"}],
}
WRITERS = 4
WRITE_SECS = 1.5


def say(text: str = "") -> None:
    """A line of the story, at once."""
    print(text, flush=True)


def tell_of_orders(db: SyncClient) -> None:
    """Machine, instances, events, and two refusals."""
    say("1. A machine for orders, with guards, and two orders.")
    db.put_machine("order", 1, ORDER)
    db.create_instance("order", 1, instance_id="order-1", initial_ctx={"items": ["book"]})
    db.create_instance("order", 1, instance_id="order-2", initial_ctx={"items": []})
    paid = db.apply_event("order-1", "PAY", {"address": "12 Rue Cler"})
    shipped = db.apply_event("order-1", "SHIP")
    say(f"   order-1: {paid.from_state} -> {paid.to_state} -> {shipped.to_state}")
    say()
    say("2. What is not allowed is refused, with the reason.")
    try:
        db.apply_event("order-2", "PAY")
    except GuardFailedError as refused:
        say(f"   order-2 PAY:  {refused}")
    try:
        db.apply_event("order-2", "DELIVER")
    except InvalidTransitionError as refused:
        say(f"   order-2 DELIVER:  {refused}")
    say()


class Writer(threading.Thread):
    """Counts upwards in an instance of its own, and writes down each acknowledgement."""

    def __init__(self, url: str, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.url = url
        self.stop_event = stop
        self.acknowledged: dict[int, int] = {}
        """Offset of each number that the server has acknowledged."""

    def run(self) -> None:
        """Write until told to stop."""
        with SyncClient.from_url(self.url) as db:
            db.create_instance("counter", 1, instance_id=self.name)
            number = 0
            while not self.stop_event.is_set():
                number += 1
                self.acknowledged[number] = db.apply_event(
                    self.name, "COUNT", {"n": number}
                ).wal_offset


class Watcher(threading.Thread):
    """Watches all counters live, from the first event to the last."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.seen: list[int] = []

    def run(self) -> None:
        """Watch for as long as the process lives."""
        with SyncClient.from_url(self.url) as db:
            for event in db.watch_all(machines=["counter"], from_offset=0):
                self.seen.append(event.wal_offset)


def write_through_a_crash(server: ServerProcess, url: str) -> tuple[list[Writer], Watcher]:
    """Four writers and a watcher; the server is killed under them and started again."""
    say(f"3. {WRITERS} writers and a live watcher; then a compaction, then kill -9 in mid-write.")
    with SyncClient.from_url(url) as db:
        db.put_machine("counter", 1, COUNTER)
    stop = threading.Event()
    watcher = Watcher(url)
    writers = [Writer(url, f"counter-{n}", stop) for n in range(1, WRITERS + 1)]
    for thread in (watcher, *writers):
        thread.start()
    time.sleep(WRITE_SECS)
    with SyncClient.from_url(url) as db:
        done = db.compact(force_snapshot=True)
    say(f"   compacted while serving: {done.snapshots_created} snapshot")
    time.sleep(WRITE_SECS / 3)
    server.kill()
    before = sum(len(writer.acknowledged) for writer in writers)
    say(f"   killed after {before} acknowledged writes; the clients try again by themselves")
    began = time.monotonic()
    server.start()
    say(f"   started again in {time.monotonic() - began:.2f} s, recovery included")
    time.sleep(WRITE_SECS)
    stop.set()
    for writer in writers:
        writer.join(30)
    total = sum(len(writer.acknowledged) for writer in writers)
    say(f"   the writers went on: {total} acknowledged writes in all")
    say()
    return writers, watcher


def compare(url: str, writers: list[Writer], watcher: Watcher) -> list[str]:
    """Compare the log, the instances and the watcher with what the clients wrote down."""
    say("4. Compare with what the clients wrote down.")
    wrong: list[str] = []
    with SyncClient.from_url(url) as db:
        log = {
            record.offset: record.entry
            for record in db.wal_records()
            if record.entry["type"] == "apply_event" and record.entry["event"] == "COUNT"
        }
        for writer in writers:
            for number, offset in writer.acknowledged.items():
                entry = log.get(offset)
                if entry is None or entry["payload"] != {"n": number}:
                    wrong.append(f"{writer.name}: acknowledged {number} at {offset}, log: {entry}")
            last = max(writer.acknowledged)
            instance = db.get_instance(writer.name)
            if instance.ctx != {"n": last}:
                wrong.append(f"{writer.name}: last acknowledged {last}, found {instance.ctx}")
        counts = Counter((e["instance_id"], e["payload"]["n"]) for e in log.values())
        wrong += [f"{key} was applied {n} times" for key, n in counts.items() if n > 1]
        orders = [(row.id, row.state) for row in db.list_instances(machine="order").instances]
        if orders != [("order-1", "shipped"), ("order-2", "created")]:
            wrong.append(f"the orders are {orders}")
    deadline = time.monotonic() + 10
    while len(watcher.seen) < len(log) and time.monotonic() < deadline:
        time.sleep(0.02)
    if watcher.seen != sorted(log):
        wrong.append(f"the watcher saw {len(watcher.seen)} events of {len(log)}")
    acknowledged = sum(len(writer.acknowledged) for writer in writers)
    say(f"   {acknowledged} acknowledged writes, each found in the log where it was acknowledged")
    say(f"   {len(log)} events in the log, none applied twice")
    say(f"   {len(watcher.seen)} events seen by the watcher, across the crash")
    return wrong


def main() -> int:
    """Tell the story; the exit code."""
    with tempfile.TemporaryDirectory(prefix="rstmdb-demo-") as folder:
        # No compaction but the one below, so that the whole log is there to compare with.
        server = ServerProcess(Path(folder), {"RSTMDB_COMPACT_ENABLED": "false"})
        with server:
            url = f"rstmdb://{server.address}"
            say(f"rstmdb-server listens on {server.address}, every write synced.")
            say()
            with SyncClient.from_url(url) as db:
                tell_of_orders(db)
            writers, watcher = write_through_a_crash(server, url)
            wrong = compare(url, writers, watcher)
            if server.stop() != 0:
                wrong.append("the server did not stop cleanly")
    say()
    for line in wrong[:20]:
        say(f"WRONG: {line}")
    say("Something was lost." if wrong else "Nothing was lost, nothing was doubled.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
