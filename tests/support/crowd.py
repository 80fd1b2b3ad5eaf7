"""Thousands of connections in a process of its own: some idle, some watching everything.

Run as a program it opens them, prints a line, and reads what the watchers are sent. The path of
a file with the offsets that were written, on standard input, makes it wait until every watcher
has as many, compare, and print what it found.
"""

from __future__ import annotations

import json
import re
import select
import selectors
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from wire import HEADER, Wire, frame

STALLED_SECS = 60.0
PING = frame(b'{"id":"still here","op":"PING"}')
_OFFSET = re.compile(rb'"wal_offset":(\d+)')


@dataclass(frozen=True, slots=True)
class Found:
    """What the watchers saw; `wrong` names the first of them that saw something else."""

    deliveries: int
    seconds: float
    wrong: str
    idle_alive: int


class Crowd:
    """Starts the process; `check` waits for the watchers and tells what they saw."""

    def __init__(self, host: str, port: int, *, idle: int, watchers: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, host, str(port), str(idle), str(watchers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the crowd has failed; its traceback is above"
        return line

    def check(self, folder: Path, offsets: Sequence[int]) -> Found:
        """Compare what each watcher saw with the offsets that were acknowledged, in order."""
        path = folder / "offsets"
        path.write_bytes(array("Q", offsets).tobytes())
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return Found(**json.loads(self._read()))

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Watcher:
    """One connection that watches everything, and the offsets it was told of."""

    def __init__(self, host: str, port: int) -> None:
        self._wire = Wire(host, port)
        self._wire.call("WATCH_ALL", machines=["ring"], include_ctx=False)
        self.socket = self._wire.socket
        self.socket.setblocking(False)
        self.offsets = array("Q")
        self._rest = b""

    def read(self) -> int:
        """Take in what has arrived; how many events that were."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the server closed a watcher")
        data = self._rest + data
        at = count = 0
        while len(data) - at >= HEADER.size:
            end = at + HEADER.size + int.from_bytes(data[at + 10 : at + 14], "big")
            if end > len(data):
                break
            found = _OFFSET.search(data, at + HEADER.size, end)
            assert found is not None, data[at:end]
            self.offsets.append(int(found[1]))
            at = end
            count += 1
        self._rest = data[at:]
        return count


def open_idle(host: str, port: int, count: int) -> list[socket.socket]:
    """Connections that said HELLO and nothing since."""
    hello = frame(b'{"id":"1","op":"HELLO","params":{"protocol_version":1}}')
    opened = []
    for _ in range(count):
        connection = socket.create_connection((host, port), 20)
        connection.sendall(hello)
        assert connection.recv(4096)
        opened.append(connection)
    return opened


def still_alive(idle: list[socket.socket]) -> int:
    """How many of the idle connections are answered on."""
    alive = 0
    for connection in idle:
        connection.sendall(PING)
        alive += b"still here" in connection.recv(4096)
    return alive


def watch(watchers: list[Watcher]) -> tuple[array[int], int, float]:
    """Read until a path has come and every watcher has as many events as are in that file."""
    selector = selectors.DefaultSelector()
    for watcher in watchers:
        selector.register(watcher.socket, selectors.EVENT_READ, watcher)
    expected: array[int] | None = None
    deliveries = 0
    began = last = time.monotonic()
    while expected is None or deliveries < len(expected) * len(watchers):
        for key, _ in selector.select(0.1):
            deliveries += key.data.read()
            last = time.monotonic()
        if expected is None and select.select([sys.stdin], [], [], 0)[0]:
            expected = array("Q", Path(sys.stdin.readline().strip()).read_bytes())
        if expected is not None and time.monotonic() - last > STALLED_SECS:
            break
    seconds = last - began
    while ready := selector.select(0.3):  # what should not come any more
        for key, _ in ready:
            deliveries += key.data.read()
    return expected, deliveries, seconds


def main(host: str, port: str, idle_count: str, watcher_count: str) -> None:
    idle = open_idle(host, int(port), int(idle_count))
    watchers = [Watcher(host, int(port)) for _ in range(int(watcher_count))]
    print("ready", flush=True)
    expected, deliveries, seconds = watch(watchers)
    wrong = ""
    for number, watcher in enumerate(watchers):
        if watcher.offsets != expected:
            wrong = f"watcher {number} has {len(watcher.offsets)} events of {len(expected)}"
            break
    print(json.dumps(asdict(Found(deliveries, seconds, wrong, still_alive(idle)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
