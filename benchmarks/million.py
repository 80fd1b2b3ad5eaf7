"""A million instances: recovery, compaction, the longest wait during it, memory, rates.

`nox -s million` runs it; `--instances N` for another size. Prints one line a figure, with
the goal where there is one, and exits 1 if a bound of the specification is broken.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rstmdb_protocol import encode_frame
from rstmdb_server import testing
from rstmdb_server.testing import ServerProcess
from rstmdb_storage import Database, FsyncPolicy, LogOptions, StorageOptions

RING = {
    "states": ["s0", "s1", "s2", "s3", "s4"],
    "initial": "s0",
    "transitions": [{"from": f"s{n}", "event": "NEXT", "to": f"s{(n + 1) % 5}"} for n in range(5)],
}
BATCH = 1000


class Wire:
    """The least of a client: frames out, answers in."""

    def __init__(self, server: ServerProcess) -> None:
        self._socket = socket.create_connection((server.host, server.port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, op: str, **params: Any) -> Any:
        """One request and its result."""
        payload = json.dumps({"id": "1", "op": op, "params": params}).encode()
        self._socket.sendall(encode_frame(payload))
        head = self._read(18)
        answer = json.loads(self._read(int.from_bytes(head[10:14], "big")))
        if answer["status"] != "ok":
            raise RuntimeError(answer["error"])
        return answer["result"]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise EOFError("the server closed the connection")
            data += piece
        return data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def fill(folder: Path, instances: int) -> float:
    """Create the instances through the embedded database; how many a second."""
    options = StorageOptions(log=LogOptions(policy=FsyncPolicy.never()))
    with Database.open(folder, options) as db:
        db.put_machine("load", 1, RING)
        began = time.perf_counter()
        for first in range(0, instances, BATCH):
            with db.batch() as batch:
                for n in range(first, min(first + BATCH, instances)):
                    batch.create_instance(
                        "load", 1, instance_id=f"i-{n}",
                        initial_ctx={"customer": f"c-{n}", "amount": 100},
                    )  # fmt: skip
        return instances / (time.perf_counter() - began)


def resident_mib(server: ServerProcess) -> float:
    """Resident memory of the server process."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def recovery_secs(server: ServerProcess) -> float:
    """What the server logged about its last recovery."""
    line = next(line for line in reversed(server.log_lines()) if "recovered" in line)
    message = json.loads(line)["message"]
    return float(message.rsplit(" in ", 1)[1].split()[0])


def longest_waits(server: ServerProcess) -> tuple[float, list[float], Any]:
    """COMPACT beside a client that reads and writes: seconds, waits in ms, the result."""
    waits: list[float] = []
    done = threading.Event()

    def ask() -> None:
        wire = Wire(server)
        while not done.is_set():
            began = time.perf_counter()
            wire.call("APPLY_EVENT", instance_id="i-5", event="NEXT")
            waits.append((time.perf_counter() - began) * 1000)
        wire.close()

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.5)
    waits.clear()
    wire = Wire(server)
    began = time.perf_counter()
    result = wire.call("COMPACT")
    took = time.perf_counter() - began
    done.set()
    asking.join()
    wire.close()
    return took, sorted(waits), result


def main() -> int:
    """Measure; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1_000_000)
    instances = parser.parse_args().instances
    testing.START_TIMEOUT_SECS = 300
    with tempfile.TemporaryDirectory(prefix="rstmdb-million-", dir=Path.cwd()) as folder:
        root = Path(folder)
        print(f"created          {fill(root / 'data', instances):>12,.0f} instances/s, embedded")
        server = ServerProcess(root, {"RSTMDB_COMPACT_ENABLED": "false"})
        empty = ServerProcess(root / "empty", {})
        (root / "empty").mkdir()
        with empty:
            base = resident_mib(empty)
        with server:
            seconds = recovery_secs(server)
            rate = instances / seconds
            print(f"recovered        {rate:>12,.0f} records/s from the log (goal 250,000)")
            used = (resident_mib(server) - base) * 1024 * 1024 / instances
            print(f"memory           {used:>12,.0f} bytes an instance, contexts of 35 included")
            took, waits, _ = longest_waits(server)
            print(f"COMPACT          {took:>12.2f} s (bound 10)")
            print(f"longest wait     {waits[-1]:>12.1f} ms of a write during it (bound 50)")
            print(f"p99 wait         {waits[int(len(waits) * 0.99)]:>12.1f} ms")
            server.stop()
            server.start()
            rate = instances / recovery_secs(server)
            print(f"recovered        {rate:>12,.0f} instances/s from a snapshot (goal 500,000)")
    return 1 if took > 10 or waits[-1] > 50 else 0


if __name__ == "__main__":
    sys.exit(main())
