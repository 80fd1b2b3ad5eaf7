"""Many subscriptions, and those that nothing matches: they wait at no one's expense."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from bystander import RING
from wire import Refused, Wire, frame

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

PER_CONNECTION = 1000


def watch(
    siege: Siege, stack: ExitStack, count: int, op: str, params: dict[str, Any]
) -> list[Wire]:
    """`count` subscriptions of one kind, a thousand a connection."""
    wires = []
    request = frame(json.dumps({"id": "w", "op": op, "params": params}).encode())
    while count:
        part = min(count, PER_CONNECTION)
        wire = stack.enter_context(siege.connect())
        wire.socket.sendall(request * part)
        for _ in range(part):
            assert wire.receive()["status"] == "ok"
        wires.append(wire)
        count -= part
    return wires


def many(besiege: Besiege, count: int) -> None:
    siege = besiege(RSTMDB_COMPACT_ENABLED="false")
    with ExitStack() as stack:
        control = stack.enter_context(siege.connect())
        control.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        control.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
        wires: list[Wire] = []
        params = {"instance_id": "r"}
        siege.withstands(
            f"{count:,} subscriptions to an instance made",
            lambda: wires.extend(watch(siege, stack, count, "WATCH_INSTANCE", params)),
            seconds=0, growth_bytes=count * 2048 + (16 << 20),
        )  # fmt: skip
        siege.withstands(f"{count:,} subscriptions to an instance, silent", lambda: time.sleep(1),
                         seconds=2)  # fmt: skip
        offset = control.call("APPLY_EVENT", instance_id="r", event="T")["wal_offset"]
        for wire in wires:
            events = [wire.event() for _ in range(min(count, PER_CONNECTION))]
            assert {event["wal_offset"] for event in events} == {offset}
            assert len({event["subscription_id"] for event in events}) == len(events)
        with stack.pop_all():
            siege.withstands(f"{count:,} subscriptions closed", lambda: None, seconds=0.5)


def test_many_subscriptions_get_one_event_each_and_cost_the_others_nothing(
    besiege: Besiege,
) -> None:
    many(besiege, 3_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_subscriptions(besiege: Besiege) -> None:
    many(besiege, 100_000)


def unmatched(besiege: Besiege, count: int) -> None:
    """Filters that no event passes are looked at again for each event of the others."""
    siege = besiege(RSTMDB_COMPACT_ENABLED="false")
    with ExitStack() as stack:
        wires = watch(siege, stack, count, "WATCH_ALL", {"machines": ["nobody"]})
        siege.withstands(f"{count:,} filters that nothing matches", lambda: time.sleep(0.5),
                         seconds=1)  # fmt: skip
        for wire in wires:
            wire.call("PING")
            assert not wire.events


def test_many_filters_that_nothing_matches_cost_the_others_little(besiege: Besiege) -> None:
    unmatched(besiege, 2_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_filters_that_nothing_matches(besiege: Besiege) -> None:
    unmatched(besiege, 100_000)


def test_subscriptions_over_the_limit_are_refused_however_often(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_LIMIT_MAX_SUBSCRIPTIONS="10")

    def attack() -> None:
        with siege.connect() as wire:
            for _ in range(10):
                wire.call("WATCH_ALL")
            for _ in range(50):
                with pytest.raises(Refused) as refused:
                    wire.call("WATCH_ALL")
                assert refused.value.code == "RATE_LIMITED"

    siege.withstands("subscriptions over the limit", attack)


def test_watching_and_unwatching_without_end_leaves_nothing(siege: Siege) -> None:
    def attack() -> None:
        with siege.connect() as wire:
            for _ in range(100):
                found = wire.call("WATCH_ALL", machines=["nobody"], from_offset=0)
                assert wire.call("UNWATCH", subscription_id=found["subscription_id"])["removed"]

    siege.withstands("watch and unwatch without end", attack)


def test_filters_of_a_hundred_thousand_names_are_taken_or_refused_quickly(siege: Siege) -> None:
    names = [f"n{number}" for number in range(100_000)]

    def attack() -> None:
        with siege.connect() as wire:
            wire.request("WATCH_ALL", machines=names, events=["nothing"])

    siege.withstands("filters of 100,000 names", attack)


def test_replays_of_the_whole_log_by_many_watchers_at_once(siege: Siege) -> None:
    """Fifty watchers that begin at the oldest record, on connections that then go away."""
    with siege.connect() as wire:
        ops = [{"op": "APPLY_EVENT", "params": {"instance_id": "r", "event": "T"}}] * 100
        for _ in range(30):
            wire.call("BATCH", ops=ops)

    def attack() -> None:
        with ExitStack() as stack:
            wires = [stack.enter_context(siege.connect()) for _ in range(50)]
            for wire in wires:
                wire.send("WATCH_ALL", {"from_offset": 0, "machines": ["ring"]})
            for wire in wires:
                assert wire.receive()["status"] == "ok"
                assert wire.event()["wal_offset"] > 0

    siege.withstands("50 replays of the whole log, broken off", attack, seconds=1.0)
