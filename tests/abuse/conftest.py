"""Attacks beside a healthy client, and one table of what they did to it.

An attack is withstood when the healthy client's 99th percentile stays below twice its quiet
value or 5 ms above it, whichever is more; when the server's memory stays bounded; when it has
logged no exception; and when it answers afterwards.
"""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bystander import RING, Bystander, Latencies
from rstmdb_server.testing import ServerProcess
from wire import Wire

MIB = 1 << 20
GROWTH_BYTES = 64 * MIB
ATTACK_SECS = 0.4
TRIES = 3
"""A busy machine delays any process now and then; what an attack causes, it causes each time."""
ROWS = pytest.StashKey[list["Row"]]()


@dataclass(frozen=True, slots=True)
class Row:
    """What an attack did."""

    attack: str
    quiet: Latencies
    during: Latencies
    growth_bytes: int
    exceptions: int
    seconds: float
    slowdown: float
    """How much longer the server took than it computed, because others had the processor."""

    @property
    def bound_ms(self) -> float:
        """What the specification allows the healthy client's 99th percentile."""
        return max(2 * self.quiet.p99_ms, self.quiet.p99_ms + 5)

    def is_calm(self, stall_ms: float) -> bool:
        """Whether the bound holds, or no request waited longer than `stall_ms` where it is given.

        What an idle process beside it waited is the machine's; a request waits for two of that
        kind, the server and its own process. And what the server computes takes longer where it
        shares the processor with others.
        """
        during = self.during
        if stall_ms:
            return during.max_ms <= self.slowdown * stall_ms + 2 * during.control_max_ms
        return during.p99_ms <= self.slowdown * self.bound_ms + 2 * during.control_p99_ms


def resident_bytes(server: ServerProcess) -> int:
    """What the server's process holds in memory."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def computed_and_waited(server: ServerProcess) -> tuple[int, int]:
    """Nanoseconds that the server's event loop has computed, and waited for a processor."""
    path = Path(f"/proc/{server.pid}/schedstat")
    if not path.exists():  # a kernel without these statistics
        return 0, 0
    computed, waited, _ = map(int, path.read_text().split())
    return computed, waited


def exceptions(lines: list[str]) -> list[str]:
    """The lines of a log that tell of an exception, or that did not come from the logger."""
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            found.append(line)  # printed by the interpreter
            continue
        if entry["level"] in ("error", "critical") or "Traceback" in line:
            found.append(line)
    return found


class Siege:
    """One server with its healthy client, to run attacks on."""

    def __init__(self, server: ServerProcess, bystander: Bystander, rows: list[Row]) -> None:
        self.server = server
        self._bystander = bystander
        self._rows = rows

    def withstands(
        self,
        name: str,
        attack: Callable[[], object],
        *,
        seconds: float = ATTACK_SECS,
        growth_bytes: int = GROWTH_BYTES,
        stall_ms: float = 0.0,
        tries: int = TRIES,
    ) -> Row:
        """Run an attack, again and again until `seconds` are over, and check what it did.

        `stall_ms` is for attacks whose single messages may cost as much as that: there, no
        request waits longer.
        """
        for attempt in range(1, tries + 1):
            row = self._once(name, attack, seconds, again=attempt > 1)
            if row.is_calm(stall_ms):
                break
        self._rows.append(row)
        assert row.exceptions == 0, exceptions(self.server.log_lines())
        assert row.growth_bytes < growth_bytes, f"{row.growth_bytes / MIB:.1f} MiB"
        assert row.is_calm(stall_ms), row
        return row

    def _once(self, name: str, attack: Callable[[], object], seconds: float, *, again: bool) -> Row:
        quiet = self._bystander.quiet(again=again)
        before = resident_bytes(self.server)
        logged = len(self.server.log_lines())
        computed, waited = computed_and_waited(self.server)
        self._bystander.begin()
        began = time.monotonic()
        try:
            attack()
            while time.monotonic() - began < seconds:
                attack()
        finally:
            lasted = time.monotonic() - began
            during = self._bystander.end()
        computed, waited = (
            after - early
            for after, early in zip(
                computed_and_waited(self.server), (computed, waited), strict=True
            )
        )
        return Row(
            name,
            quiet,
            during,
            resident_bytes(self.server) - before,
            len(exceptions(self.server.log_lines()[logged:])),
            lasted,
            (computed + waited) / computed if computed else 1.0,
        )

    def connect(self, **options: object) -> Wire:
        """A connection to the server, with HELLO."""
        return Wire(self.server.host, self.server.port, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def _many_descriptors() -> None:
    """Allow as many open files as this process may; servers and clients inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """What the attacks of this run did."""
    return request.config.stash.setdefault(ROWS, [])


def besieger(factory: pytest.TempPathFactory, rows: list[Row]) -> Iterator[Callable[..., Siege]]:
    """Starts servers, each in a folder of its own, and ends them all."""
    with ExitStack() as stack:

        def start(
            *,
            authority: Path | None = None,
            certificate: Path | None = None,
            token: str | None = None,
            **env: str,
        ) -> Siege:
            server = stack.enter_context(ServerProcess(factory.mktemp("siege"), env))
            bystander = stack.enter_context(
                Bystander(
                    server.host,
                    server.port,
                    authority=authority,
                    certificate=certificate,
                    token=token,
                )
            )
            return Siege(server, bystander, rows)

        yield start


@pytest.fixture(scope="session")
def siege(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Iterator[Siege]:
    """A server with its defaults, and on it the instance `r` of the machine `ring`."""
    for start in besieger(tmp_path_factory, rows):
        one = start()
        with one.connect() as wire:
            wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
            wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
        yield one


Besiege = Callable[..., Siege]


@pytest.fixture
def besiege(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Iterator[Besiege]:
    """Start servers with settings of the test's own: `besiege(RSTMDB_...=...)`."""
    yield from besieger(tmp_path_factory, rows)


@pytest.fixture(scope="module")
def besiege_for_all(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Iterator[Besiege]:
    """The same for a server that the tests of a module share."""
    yield from besieger(tmp_path_factory, rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table where it was asked for: `nox -s abuse` does."""
    found = terminalreporter.config.stash.get(ROWS, [])
    if not found or not os.environ.get("RSTMDB_ABUSE_TABLE"):
        return
    terminalreporter.section("what the attacks did")
    head = ("attack", "seconds", "p99 quiet", "p99 during", "bound", "max", "idle process p99",
            "slowdown", "MiB grown", "exceptions")  # fmt: skip
    terminalreporter.write_line("| " + " | ".join(head) + " |")
    terminalreporter.write_line("|---" * len(head) + "|")
    for row in found:
        cells = (
            row.attack,
            f"{row.seconds:.1f}",
            f"{row.quiet.p99_ms:.2f} ms",
            f"{row.during.p99_ms:.2f} ms",
            f"{row.bound_ms:.2f} ms",
            f"{row.during.max_ms:.1f} ms",
            f"{row.quiet.control_p99_ms:.2f} / {row.during.control_p99_ms:.2f} ms",
            f"{row.slowdown:.1f}",
            f"{row.growth_bytes / MIB:.1f}",
            str(row.exceptions),
        )
        terminalreporter.write_line("| " + " | ".join(re.sub(r"\|", "/", c) for c in cells) + " |")
