"""The closed loop: each connection keeps its number of requests in flight."""

from __future__ import annotations

import multiprocessing
import secrets
import select
import time
from collections import deque
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Final

from ._connect import Address, Session, prepare
from ._errors import BenchError
from ._frames import FrameSource, Workload, read_answers
from ._histogram import Histogram

__all__ = ["LoadResult", "LoadSettings", "run_load"]

RECEIVE_BYTES: Final = 4096
MAX_RECEIVE_BYTES: Final = 256 * 1024
"""A receive takes 4 KiB for each request in flight: asking for much more than arrives costs
the allocator more than the request costs the server."""
DRAIN_SECONDS: Final = 10
"""How long the last answers are waited for."""
STAGGER: Final = 1 << 40
"""Sequence numbers of processes begin this far apart, so that no created id comes twice."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What a run does. `connections` is the sum over the processes."""

    address: Address
    workload: Workload
    connections: int
    in_flight: int
    seconds: float
    warmup_seconds: float
    instances: int
    processes: int = 1
    prefix: str = "bench"
    token: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class LoadResult:
    """What was answered from the end of the warm-up on, the last requests included."""

    ok: int = 0
    errors: int = 0
    unanswered: int = 0
    first_error: str | None = None
    started_ns: int = 0
    ended_ns: int = 0
    latencies: Histogram = field(default_factory=Histogram)

    @property
    def seconds(self) -> float:
        """From the end of the warm-up to the last answer."""
        return (self.ended_ns - self.started_ns) / 1e9

    @property
    def rate_per_second(self) -> float:
        """Answers with status ok per second."""
        return self.ok / self.seconds if self.seconds > 0 else 0.0

    def merge(self, other: LoadResult) -> None:
        """Add what another process has seen."""
        self.ok += other.ok
        self.errors += other.errors
        self.unanswered += other.unanswered
        self.first_error = self.first_error or other.first_error
        self.started_ns = min(self.started_ns, other.started_ns)
        self.ended_ns = max(self.ended_ns, other.ended_ns)
        self.latencies.merge(other.latencies)


class _Connection:
    """One connection of the loop, with when each of its open requests was sent."""

    __slots__ = ("sent", "session", "socket", "tail", "unsent")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.socket = session.socket
        self.socket.setblocking(False)
        self.tail = b""
        self.unsent = b""
        self.sent: deque[tuple[int, int]] = deque()
        """(time in ns, number of requests), oldest first; answers come in that order."""


class _Loop:
    """Drives some connections through warm-up, measurement and the last answers."""

    def __init__(
        self, connections: list[_Connection], source: FrameSource, settings: LoadSettings
    ) -> None:
        self._by_fd = {each.socket.fileno(): each for each in connections}
        self._source = source
        self._settings = settings
        self._poll = select.epoll()
        self._receive_bytes = min(RECEIVE_BYTES * settings.in_flight, MAX_RECEIVE_BYTES)
        self._open = 0
        self._sending = True
        self._result = LoadResult()

    def run(self) -> LoadResult:
        """Run to the end. Raises BenchError when a connection is lost."""
        settings = self._settings
        begun = time.monotonic_ns()
        measure_at = begun + int(settings.warmup_seconds * 1e9)
        stop_at = measure_at + int(settings.seconds * 1e9)
        give_up_at = stop_at + DRAIN_SECONDS * 10**9
        self._result.started_ns = self._result.ended_ns = begun
        warm = begun == measure_at
        for fd, connection in self._by_fd.items():
            self._poll.register(fd, select.EPOLLIN)
            self._send(connection, settings.in_flight, time.monotonic_ns())
        with self._poll:
            while self._open:
                ready = self._poll.poll(0.1)
                now = time.monotonic_ns()
                if now >= stop_at:
                    self._sending = False
                    if now >= give_up_at:
                        break
                elif not warm and now >= measure_at:
                    warm = True
                    self._result = LoadResult(started_ns=now, ended_ns=now)
                for fd, events in ready:
                    connection = self._by_fd[fd]
                    if events & select.EPOLLOUT:
                        self._flush(connection, b"")
                    if events & ~select.EPOLLOUT:
                        self._receive(connection)
        self._result.unanswered = self._open
        return self._result

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(self._receive_bytes)
        except OSError as error:
            raise BenchError(f"the connection was lost during the run: {error}") from None
        if not data:
            raise BenchError("the server closed a connection during the run")
        now = time.monotonic_ns()
        if connection.tail:
            data = connection.tail + data
        answers = read_answers(data)
        connection.tail = data[answers.end :]
        count = answers.total
        if not count:
            return
        result = self._result
        result.ok += answers.ok
        result.ended_ns = now
        if answers.ok != count:
            result.errors += count - answers.ok
            result.first_error = result.first_error or answers.first_error
        self._open -= count
        sent = connection.sent
        record = result.latencies.record
        left = count
        while left:
            if not sent:
                raise BenchError("the server sent more answers than it got requests")
            when, number = sent.popleft()
            if number > left:
                sent.appendleft((when, number - left))
                number = left
            record(now - when, number)
            left -= number
        if self._sending:
            self._send(connection, count, now)

    def _send(self, connection: _Connection, count: int, now: int) -> None:
        self._open += count
        connection.sent.append((now, count))
        self._flush(connection, self._source.take(count))

    def _flush(self, connection: _Connection, data: bytes) -> None:
        waiting = bool(connection.unsent)
        data = connection.unsent + data if waiting else data
        try:
            sent = connection.socket.send(data)
            if sent == len(data) and not waiting:
                return
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise BenchError(f"the connection was lost during the run: {error}") from None
        connection.unsent = data[sent:]
        if waiting != (sent < len(data)):
            events = select.EPOLLIN if waiting else select.EPOLLIN | select.EPOLLOUT
            self._poll.modify(connection.socket.fileno(), events)


def run_load(settings: LoadSettings) -> LoadResult:
    """Prepare the server, then run the workload from one process or several.

    Raises BenchError.
    """
    if settings.workload is Workload.CREATE:
        prepare(settings.address, settings.token, settings.prefix, 0)
        settings = replace(settings, prefix=f"{settings.prefix}-{secrets.token_hex(4)}")
    elif settings.workload is not Workload.PING:
        prepare(settings.address, settings.token, settings.prefix, settings.instances)
    processes = min(settings.processes, settings.connections)
    if processes == 1:
        return _drive(settings, 0, None)
    return _run_processes(settings, processes)


def _drive(settings: LoadSettings, number: int, barrier: Barrier | None) -> LoadResult:
    connections: list[_Connection] = []
    try:
        for _ in range(settings.connections):
            connections.append(_Connection(Session(settings.address, settings.token)))  # noqa: PERF401 (a failure closes those before it)
        source = FrameSource(
            settings.workload,
            prefix=settings.prefix,
            instances=settings.instances,
            in_flight=settings.in_flight,
            start=number * STAGGER,
        )
        if barrier is not None:
            barrier.wait()
        return _Loop(connections, source, settings).run()
    finally:
        for connection in connections:
            connection.session.close()


def _run_processes(settings: LoadSettings, processes: int) -> LoadResult:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    workers = []
    for number in range(processes):
        share = settings.connections // processes + (number < settings.connections % processes)
        receiver, sender = context.Pipe(duplex=False)
        share_settings = replace(settings, connections=share)
        worker = context.Process(target=_work, args=(share_settings, number, barrier, sender))
        worker.start()
        sender.close()
        workers.append((worker, receiver))
    outcomes: list[LoadResult | str | None] = []
    for worker, receiver in workers:
        try:
            outcomes.append(receiver.recv())
        except EOFError:
            outcomes.append("a process of the load generator died")
        worker.join()
    problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if problems:
        raise BenchError(problems[0])
    first, *others = (outcome for outcome in outcomes if isinstance(outcome, LoadResult))
    for other in others:
        first.merge(other)
    return first


def _work(settings: LoadSettings, number: int, barrier: Barrier, sender: Pipe) -> None:
    """One process: its result, the text of its problem, or None when another one failed."""
    try:
        sender.send(_drive(settings, number, barrier))
    except BenchError as error:
        barrier.abort()
        sender.send(str(error))
    except (BrokenBarrierError, KeyboardInterrupt):
        barrier.abort()
        sender.send(None)
