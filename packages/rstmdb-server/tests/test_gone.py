"""Work that was asked for by a client that is gone is not done."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from rstmdb_server.testing import ServerProcess
from wire import Wire, frame

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}
INSTANCES = 2000
CONNECTIONS = 60


def settled(read: Callable[[], int]) -> int:
    """A number that has stopped growing for a while."""
    before = -1
    while (now := read()) != before:
        before = now
        time.sleep(0.5)
    return now


def test_what_reset_connections_asked_of_the_log_is_not_read(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_COMPACT_ENABLED": "false"}) as server,
        Wire(server.host, server.port) as wire,
    ):
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        for _ in range(INSTANCES // 100):
            ops = [{"op": "CREATE_INSTANCE", "params": {"machine": "ring", "version": 1}}] * 100
            wire.call("BATCH", ops=ops)

        def reads() -> int:
            count: int = wire.call("WAL_STATS")["io_stats"]["reads"]
            return count

        before = settled(reads)
        wire.call("WAL_READ", from_offset=0, limit=1000)
        one = reads() - before
        assert one > 0

        ask = {"id": "1", "op": "WAL_READ", "params": {"from_offset": 0, "limit": 1000}}
        many = [server.connect() for _ in range(CONNECTIONS)]
        for gone in many:
            gone.sendall(frame(json.dumps(ask).encode()))
        assert many[0].recv(1)  # the others wait for their turn
        for gone in many:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.close()  # with a reset
        assert settled(reads) - before < CONNECTIONS // 2 * one
