"""Lying lengths, broken headers, mutated frames: answered with what was wrong, and closed."""

from __future__ import annotations

import json
import os
import random
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from crc32c import crc32c

from wire import Json, Wire, frame, header

if TYPE_CHECKING:
    from abuse.conftest import Siege

SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))
SCALE = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
PAYLOAD_LIMIT = 16 << 20
PING = b'{"id":"1","op":"PING"}'


def refusal(siege: Siege, data: bytes, code: str = "BAD_REQUEST") -> Json:
    """Send bytes; the error response, after which the server has closed."""
    with siege.connect(hello=False) as wire:
        wire.socket.sendall(data)
        answer = wire.receive()
        assert answer["id"] is None
        assert answer["error"]["code"] == code
        assert wire.closed_by_server()
        error: Json = answer["error"]
        return error


def test_lengths_over_the_limit_are_refused_from_the_header_alone(siege: Siege) -> None:
    def attack() -> None:
        for size in (PAYLOAD_LIMIT + 1, 2**31, 2**32 - 1):
            assert str(PAYLOAD_LIMIT) in refusal(siege, header(size))["message"]

    siege.withstands("lengths over 16 MiB", attack, growth_bytes=8 << 20)


def test_a_length_that_is_promised_and_not_sent_takes_no_memory(siege: Siege) -> None:
    """A hundred connections promise 16 MiB each, and send a few bytes of it."""

    def attack() -> None:
        with ExitStack() as held:
            for _ in range(100):
                connection = held.enter_context(siege.server.connect())
                connection.sendall(header(PAYLOAD_LIMIT) + b'{"id":')

    siege.withstands("16 MiB promised by each of 100", attack, growth_bytes=16 << 20)


def test_a_header_extension_is_skipped_and_a_lying_one_waits_for_its_bytes(siege: Siege) -> None:
    def attack() -> None:
        with siege.connect(hello=False) as wire:
            extended = header(len(PING), crc32c(PING), 1, extension=65_535)
            wire.socket.sendall(extended + bytes(65_535) + PING)
            assert wire.receive()["result"] == {"pong": True}
            wire.socket.sendall(header(len(PING), crc32c(PING), 1, extension=65_535) + PING)
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.closed_by_server()

    siege.withstands("header extensions, true and lying", attack)


BROKEN = (
    (b"RCPY" + frame(PING)[4:], "BAD_REQUEST", "magic"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "BAD_REQUEST", "magic"),
    (header(2, version=2) + b"{}", "UNSUPPORTED_PROTOCOL", "version"),
    (header(2, version=0) + b"{}", "UNSUPPORTED_PROTOCOL", "version"),
    (header(2, flags=0x10) + b"{}", "BAD_REQUEST", "flag"),
    (header(2, flags=0xFFFF) + b"{}", "BAD_REQUEST", "flag"),
    (header(len(PING), crc32c(PING) ^ 1, 1) + PING, "BAD_REQUEST", "CRC"),
    (header(0), "BAD_REQUEST", "JSON"),
    (header(2, flags=2) + b"{}", "BAD_REQUEST", "zstd"),
)


def test_a_broken_frame_is_named_and_ends_its_connection(siege: Siege) -> None:
    def attack() -> None:
        for data, code, part in BROKEN:
            assert part.lower() in refusal(siege, data, code)["message"].lower()

    siege.withstands("bad magic, version, flags, checksum", attack)


def mutate(rng: random.Random, whole: bytes) -> bytes:
    """Flip, cut, repeat, insert: what a broken or hostile peer might make of a frame."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(5)
        at = rng.randrange(len(data)) if data else 0
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randint(1, 8)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 3:
            data[at:at] = data[at : at + rng.randint(1, 32)]
        else:
            data = bytearray(frame(bytes(data[18:])))  # a valid frame around it
    return bytes(data)


REQUESTS = (
    {"id": "1", "op": "PING", "params": {}},
    {"id": "2", "op": "GET_INSTANCE", "params": {"instance_id": "r"}},
    {"id": "3", "op": "APPLY_EVENT", "params": {"instance_id": "r", "event": "T"}},
    {"id": "4", "op": "BATCH", "params": {"ops": [{"op": "GET_INSTANCE", "params": {}}]}},
    {"id": "5", "op": "WATCH_ALL", "params": {"machines": ["ring"]}},
    {"id": "6", "op": "WAL_READ", "params": {"from_offset": 0, "limit": 2}},
    {"id": "7", "op": "HELLO", "params": {"protocol_version": 1, "features": ["zstd"]}},
    {"id": "8", "op": "LIST_INSTANCES", "params": {"machine": "ring", "limit": 3}},
)


def storm(siege: Siege, rng: random.Random, count: int) -> None:
    """Send mutated frames, a few a connection, and read what comes back until it is closed."""
    frames = [frame(json.dumps(request).encode()) for request in REQUESTS]
    sent = 0
    while sent < count:
        with siege.server.connect() as connection:
            connection.settimeout(5)
            try:
                for _ in range(rng.randint(1, 8)):
                    connection.sendall(mutate(rng, rng.choice(frames)))
                    sent += 1
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except OSError:  # closed or reset, as it should be
                continue


def test_mutated_frames_are_answered_or_end_their_connection(siege: Siege) -> None:
    rng = random.Random(SEED)
    siege.withstands("mutated frames", lambda: storm(siege, rng, 2000))
    with siege.connect() as wire:
        assert wire.call("GET_INSTANCE", instance_id="r")["state"] == "x"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_mutated_frames(siege: Siege) -> None:
    rng = random.Random(SEED + 1)
    count = 100_000 * SCALE
    siege.withstands(f"{count:,} mutated frames", lambda: storm(siege, rng, count), tries=1)
    with siege.connect() as wire:
        assert wire.call("GET_INSTANCE", instance_id="r")["state"] == "x"


def test_a_line_that_never_ends_is_refused_at_the_limit(siege: Siege) -> None:
    def attack() -> None:
        with siege.connect(lines="from_first_byte", hello=False) as wire:
            chunk = b"{" + b" " * (1 << 20)
            try:
                for _ in range(17):
                    wire.socket.sendall(chunk)
                answer = wire.receive()
            except ConnectionError:
                return  # reset with the error unread, since more had been sent
            assert "line" in answer["error"]["message"]

    siege.withstands("a line without an end", attack, seconds=0, stall_ms=50)


def test_bytes_behind_a_framing_error_are_not_read(siege: Siege) -> None:
    """What follows the error in the same packet is no request, however valid it looks."""
    before = Wire(siege.server.host, siege.server.port)
    with before:
        offset = before.call("GET_INSTANCE", instance_id="r")["last_wal_offset"]
        apply = b'{"id":"1","op":"APPLY_EVENT","params":{"instance_id":"r","event":"T"}}'
        refusal(siege, b"nonsense" + frame(apply) * 10)
        assert before.call("GET_INSTANCE", instance_id="r")["last_wal_offset"] == offset
