"""Peers that take their time, or take nothing: they cost a place, not the others' patience."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bystander import RING
from wire import Wire, frame

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

PING = frame(b'{"id":"1","op":"PING"}')


def trickle(connections: list[socket.socket], data: bytes, pause: float) -> None:
    """Send the same bytes on every connection, one at a time."""
    for byte in data:
        for connection in connections:
            connection.sendall(bytes([byte]))
        time.sleep(pause)


@pytest.mark.parametrize(
    ("place", "data"), [("header", PING[:17]), ("body", PING[:-1])], ids=["header", "body"]
)
def test_a_peer_that_sends_byte_by_byte_is_closed_at_the_deadline(
    besiege: Besiege, place: str, data: bytes
) -> None:
    """The deadline is for the first whole request, so that no byte in time buys more of it."""
    siege = besiege(RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS="1")

    def attack() -> None:
        with ExitStack() as stack:
            slow = [stack.enter_context(siege.server.connect()) for _ in range(100)]
            for connection in slow:
                connection.sendall(data[:-10])
            began = time.monotonic()
            trickle(slow, data[-10:], 0.04)
            for connection in slow:
                assert connection.recv(1) == b""
            assert 0.5 < time.monotonic() - began < 5

    siege.withstands(f"100 peers byte by byte in the {place}", attack)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["header", "body"])
def test_one_byte_a_second_against_the_default_deadline(besiege: Besiege, place: str) -> None:
    siege = besiege()
    skip = 0 if place == "header" else 18

    def attack() -> None:
        with ExitStack() as stack:
            slow = [stack.enter_context(siege.server.connect()) for _ in range(200)]
            for connection in slow:
                connection.sendall(PING[:skip])
            try:
                trickle(slow, PING[skip : skip + 15], 1.0)
            except OSError:
                pass  # closed in between
            else:
                raise AssertionError("a peer that trickles outlived the deadline of 10 s")

    siege.withstands(f"200 peers, a byte a second in the {place}", attack, tries=1)


def test_a_request_of_a_greeted_peer_may_take_its_time(siege: Siege) -> None:
    """Slow is not hostile: whoever has greeted is held to the idle timeout only."""
    with siege.connect() as wire:
        for byte in PING:
            wire.socket.sendall(bytes([byte]))
            time.sleep(0.01)
        assert wire.receive()["result"] == {"pong": True}


def test_half_open_peers_get_their_answers_and_are_closed(siege: Siege) -> None:
    def attack() -> None:
        for _ in range(30):
            with siege.connect() as wire:
                request_id = wire.send("GET_INSTANCE", {"instance_id": "r"})
                wire.socket.shutdown(socket.SHUT_WR)
                assert wire.response(request_id)["status"] == "ok"
                assert wire.closed_by_server()

    siege.withstands("half-open peers", attack)


def test_peers_that_vanish_without_a_word_are_closed_by_the_idle_timeout(
    besiege: Besiege,
) -> None:
    """What a pulled cable leaves: a connection on which nothing comes any more, neither FIN."""
    siege = besiege(RSTMDB_IDLE_TIMEOUT="2")

    def attack() -> None:
        with ExitStack() as stack:
            gone = [stack.enter_context(siege.connect()) for _ in range(50)]
            for wire in gone:
                assert wire.closed_by_server(timeout=6)

    siege.withstands("50 peers gone without a FIN", attack)


def test_a_socket_that_takes_no_byte_is_closed_in_time(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_LIMIT_WRITE_TIMEOUT_SECS="1")
    get = frame(b'{"id":"1","op":"GET_INSTANCE","params":{"instance_id":"big"}}')
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="big",
                  initial_ctx={"text": "x" * 500_000})  # fmt: skip

    def attack() -> None:
        with siege.server.connect() as deaf:
            deaf.sendall(get * 50)
            deadline = time.monotonic() + 8
            while time.monotonic() < deadline:
                time.sleep(0.2)
                try:
                    deaf.sendall(b"RCPX")
                except ConnectionError:
                    return
            raise AssertionError("the deaf connection was not closed")

    siege.withstands("a socket that takes no byte", attack)


def write_events(siege: Siege, count: int, first: int = 0) -> list[int]:
    """Apply `count` numbered events, many in flight; the offsets of all, in order."""
    offsets: list[int] = []
    with siege.connect() as writer:
        for start in range(first, first + count, 500):
            numbers = range(start, min(start + 500, first + count))
            writer.socket.sendall(b"".join(_event(n) for n in numbers))
            offsets += [writer.receive()["result"]["wal_offset"] for _ in numbers]
    return offsets


def _event(number: int) -> bytes:
    params = {"instance_id": "r", "event": "T", "payload": {"n": number}}
    return frame(json.dumps({"id": "e", "op": "APPLY_EVENT", "params": params}).encode())


def read_nothing_then_all(siege: Siege, events: int, silent_secs: float, watchers: int) -> None:
    """Watchers that read nothing while events pass; then each sees every one, once, in order."""
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
    with ExitStack() as stack:
        deaf = [stack.enter_context(siege.connect(features=("watch_end",)))
                for _ in range(watchers)]  # fmt: skip
        for wire in deaf:
            wire.call("WATCH_ALL", machines=["ring"])
        offsets: list[int] = []

        def attack() -> None:
            began = time.monotonic()
            slice_ = max(events // 40, 1)
            while len(offsets) < events:
                offsets.extend(write_events(siege, slice_, len(offsets)))
                if len(offsets) < events:  # spread over the time, so that the client is heard
                    late = began + silent_secs * len(offsets) / events - time.monotonic()
                    time.sleep(max(0.0, late))
            time.sleep(max(0.0, began + silent_secs - time.monotonic()))

        siege.withstands(
            f"{watchers} watcher(s) deaf for {silent_secs:.0f} s, {events:,} events",
            attack, seconds=0, tries=1,
        )  # fmt: skip

        def read(wire: Wire, seen: list[tuple[int, int]]) -> None:
            for _ in range(events):
                event = wire.event(timeout=60)
                seen.append((event["wal_offset"], event["payload"]["n"]))

        def catch_up() -> None:
            found: list[list[tuple[int, int]]] = [[] for _ in deaf]
            threads = [threading.Thread(target=read, args=pair)
                       for pair in zip(deaf, found, strict=True)]  # fmt: skip
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wanted = list(zip(offsets, range(events), strict=True))
            assert all(seen == wanted for seen in found)

        siege.withstands(f"{watchers} watcher(s) catch up on {events:,} events", catch_up,
                         seconds=0, tries=1)  # fmt: skip
        live = write_events(siege, 1, events)
        for wire in deaf:
            assert wire.event()["wal_offset"] == live[0]
            wire.call("PING")
            assert not wire.events
            assert not wire.ends


def test_watchers_that_read_nothing_for_a_while_then_see_all(besiege: Besiege) -> None:
    read_nothing_then_all(besiege(), events=10_000, silent_secs=1, watchers=3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_watcher_deaf_for_a_minute_while_200_000_events_pass(besiege: Besiege) -> None:
    read_nothing_then_all(besiege(), events=200_000, silent_secs=60, watchers=1)
