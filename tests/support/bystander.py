"""A well-behaved client in a process of its own, beside an attack: how long does it wait?

Run as a program it reads and writes one instance, a request at a time, while it is told to, and
tells its latencies. Between its requests it asks a *control* the same: an idle process of its
own that echoes, with and without an fdatasync. What the control waits for is the machine's doing
(other processes, the disk), not the server's.
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from wire import Refused, Wire

RING: dict[str, Any] = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}
PAUSE_SECS = 0.002
KEEP_ALIVE_SECS = 0.4
QUIET_SECS = 0.6
SYNC, ECHO = b"s", b"e"
BEGIN, END = b"b", b"e"


@dataclass(frozen=True, slots=True)
class Latencies:
    """What one client saw in one stretch of time, in milliseconds."""

    requests: int
    p99_ms: float
    max_ms: float
    control_p99_ms: float
    control_max_ms: float


class Bystander:
    """Starts the process for one server; `begin` and `end` enclose a stretch of time.

    `authority` is the CA's file of a server with TLS, `certificate` what to show it (with its
    key), `token` what AUTH wants.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        authority: Path | None = None,
        certificate: Path | None = None,
        token: str | None = None,
    ) -> None:
        options = {
            "authority": authority and str(authority),
            "certificate": certificate and str(certificate),
            "token": token,
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, host, str(port), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._quiet: Latencies | None = None
        self._hear()

    def begin(self) -> None:
        """Start to work."""
        self._say(BEGIN)

    def end(self) -> Latencies:
        """Stop; what was seen since `begin`. AssertionError where a request has failed."""
        self._say(END)
        return Latencies(**json.loads(self._hear()))

    def quiet(self, *, again: bool = False) -> Latencies:
        """What it sees while nobody attacks; measured once, or `again`."""
        if self._quiet is None or again:
            self.begin()
            time.sleep(QUIET_SECS)
            self._quiet = self.end()
        return self._quiet

    def _hear(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the healthy client has failed; its traceback is above"
        return line

    def _say(self, word: bytes) -> None:
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), word)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Bystander:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def control(end: socket.socket) -> None:
    """Echo until the other end closes; sync 300 bytes before where that was asked for."""
    descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR)
    os.pwrite(descriptor, bytes(4096), 0)
    while asked := end.recv(1):
        if asked == SYNC:
            os.pwrite(descriptor, os.urandom(300), 0)
            os.fdatasync(descriptor)
        end.sendall(asked)


def connect(
    host: str, port: int, authority: str | None, certificate: str | None, token: str | None
) -> Wire:
    """A connection on which an instance of its own is ready."""
    context = None
    if authority is not None:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            context.load_cert_chain(certificate)
    wire = Wire(host, port, tls=context)
    if token is not None:
        wire.call("AUTH", token=token)
    wire.call("PUT_MACHINE", machine="healthy", version=1, definition=RING)
    try:
        wire.call("CREATE_INSTANCE", machine="healthy", version=1, instance_id="healthy")
    except Refused as refused:
        if refused.code != "INSTANCE_EXISTS":
            raise
    return wire


def p99(millis: list[float]) -> float:
    return sorted(millis)[int(len(millis) * 0.99)]


def timed(into: list[float], call: Callable[[], object]) -> None:
    began = time.perf_counter()
    call()
    into.append((time.perf_counter() - began) * 1000)


def measure(wire: Wire, echo: socket.socket) -> Latencies:
    """Work until a word arrives on standard input."""
    own: list[float] = []
    idle: list[float] = []

    def ask(what: bytes) -> None:
        echo.sendall(what)
        echo.recv(1)

    while True:
        timed(own, lambda: wire.call("APPLY_EVENT", instance_id="healthy", event="T"))
        timed(idle, lambda: ask(SYNC))
        timed(own, lambda: wire.call("GET_INSTANCE", instance_id="healthy"))
        timed(idle, lambda: ask(ECHO))
        if told(PAUSE_SECS):
            assert os.read(0, 1) == END
            return Latencies(len(own), p99(own), max(own), p99(idle), max(idle))


def told(within_secs: float) -> bool:
    """Whether a word waits on standard input. It is read without a buffer, which would hide it."""
    return bool(select.select([0], [], [], within_secs)[0])


def wait_to_begin(wire: Wire) -> bool:
    """Wait for the word; until it comes, no idle timeout is to strike. False at the end."""
    while not told(KEEP_ALIVE_SECS):
        wire.call("PING")
    return os.read(0, 1) == BEGIN


def main(host: str, port: str, options: str) -> None:
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        control(theirs)
        os._exit(0)
    theirs.close()
    with connect(host, int(port), **json.loads(options)) as wire:
        print("ready", flush=True)
        while wait_to_begin(wire):
            found = measure(wire, ours)
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
