"""Loops that drive connections: closed (a number in flight) and open (a rate of arrivals)."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from typing import Final

from ._connect import Session
from ._errors import BenchError
from ._frames import FrameSource, read_answers
from ._histogram import Histogram
from ._result import LoadResult

__all__ = ["ClosedLoop", "Connection", "OpenLoop", "Timing"]

RECEIVE_BYTES: Final = 4096
MAX_RECEIVE_BYTES: Final = 256 * 1024
"""A receive takes 4 KiB for each request in flight: asking for much more than arrives costs
the allocator more than the request costs the server."""
DRAIN_SECONDS: Final = 10
"""How long the last answers are waited for."""
WAIT_SECONDS: Final = 0.1
"""How long a closed loop waits for an answer before it looks at the clock again."""
SPIN_NS: Final = 100_000
"""An open loop sleeps until so long before the next arrival, then looks at the clock: the
kernel wakes a sleeper some 60 microseconds late, which would count as the server's."""
MAX_BEHIND: Final = 1_000_000
"""An open loop ends when so many requests wait for their answers."""


class Timing:
    """When a run begins, measures and stops, in nanoseconds of the monotonic clock."""

    __slots__ = ("begun", "give_up_at", "interval_ns", "measure_at", "stop_at")

    def __init__(self, warmup_seconds: float, seconds: float, interval_seconds: float) -> None:
        self.begun = time.monotonic_ns()
        self.measure_at = self.begun + int(warmup_seconds * 1e9)
        self.stop_at = self.measure_at + int(seconds * 1e9)
        self.give_up_at = self.stop_at + DRAIN_SECONDS * 10**9
        self.interval_ns = int(interval_seconds * 1e9)


class Connection:
    """One connection of a loop, with when each of its open requests was, or should be, sent."""

    __slots__ = ("sent", "session", "socket", "tail", "unsent")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.socket = session.socket
        self.socket.setblocking(False)
        self.tail = b""
        self.unsent = bytearray()
        self.sent: deque[tuple[int, int]] = deque()
        """(time in ns, number of requests), oldest first; answers come in that order."""


class _Loop:
    """What both loops share: receiving, counting, sending what the socket did not take."""

    def __init__(
        self, connections: list[Connection], source: FrameSource, timing: Timing, receive: int
    ) -> None:
        self._by_fd = {each.socket.fileno(): each for each in connections}
        self._source = source
        self._timing = timing
        self._receive_bytes = receive
        self._poll = select.epoll()
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)
        self._open = 0
        self._reset(timing.begun)

    def _reset(self, now: int) -> None:
        """Forget what was counted: the warm-up is over."""
        self._result = LoadResult(
            started_ns=now, ended_ns=now, interval_seconds=self._timing.interval_ns / 1e9
        )
        self._interval = self._histogram(0)
        self._interval_ends = now + self._timing.interval_ns

    def _histogram(self, number: int) -> Histogram:
        return self._result.intervals.setdefault(number, Histogram())

    def _next_interval(self, now: int) -> None:
        number = (now - self._result.started_ns) // self._timing.interval_ns
        self._interval = self._histogram(number)
        self._interval_ends = self._result.started_ns + (number + 1) * self._timing.interval_ns

    def _finish(self) -> LoadResult:
        self._poll.close()
        result = self._result
        result.unanswered = self._open
        for histogram in result.intervals.values():
            result.latencies.merge(histogram)
        return result

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            connection = self._by_fd[fd]
            if events & select.EPOLLOUT:
                self._resume(connection)
            if events & ~select.EPOLLOUT:
                self._receive(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(self._receive_bytes)
        except BlockingIOError:
            return
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
        if now >= self._interval_ends:
            self._next_interval(now)
        result = self._result
        result.ok += answers.ok
        result.ended_ns = now
        if answers.ok != count:
            result.errors += count - answers.ok
            result.first_error = result.first_error or answers.first_error
        self._open -= count
        self._record(connection, count, now)
        self._answered(connection, count, now)

    def _record(self, connection: Connection, left: int, now: int) -> None:
        sent = connection.sent
        record = self._interval.record
        while left:
            if not sent:
                raise BenchError("the server sent more answers than it got requests")
            when, number = sent.popleft()
            if number > left:
                sent.appendleft((when, number - left))
                number = left
            record(now - when, number)
            left -= number

    def _answered(self, connection: Connection, count: int, now: int) -> None:
        """Hear of answers: what a loop does about them."""

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent += data
            return
        sent = self._push(connection, data)
        if sent < len(data):
            connection.unsent += data[sent:]
            events = select.EPOLLIN | select.EPOLLOUT
            self._poll.modify(connection.socket.fileno(), events)

    def _resume(self, connection: Connection) -> None:
        with memoryview(connection.unsent) as waiting:
            sent = self._push(connection, waiting[:MAX_RECEIVE_BYTES])
        del connection.unsent[:sent]
        if not connection.unsent:
            self._poll.modify(connection.socket.fileno(), select.EPOLLIN)

    @staticmethod
    def _push(connection: Connection, data: bytes | memoryview) -> int:
        try:
            return connection.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise BenchError(f"the connection was lost during the run: {error}") from None


class ClosedLoop(_Loop):
    """Each connection keeps its number of requests in flight."""

    def __init__(
        self, connections: list[Connection], source: FrameSource, timing: Timing, in_flight: int
    ) -> None:
        receive = min(RECEIVE_BYTES * in_flight, MAX_RECEIVE_BYTES)
        super().__init__(connections, source, timing, receive)
        self._in_flight = in_flight
        self._sending = True
        self._next_turn = timing.measure_at

    def run(self) -> LoadResult:
        """Run to the end. Raises BenchError when a connection is lost."""
        for connection in self._by_fd.values():
            self._ask(connection, self._in_flight, time.monotonic_ns())
        if len(self._by_fd) == self._in_flight == 1:
            self._run_alone(*self._by_fd.values())
        else:
            while self._open and self._goes_on():
                self._serve(self._poll.poll(WAIT_SECONDS))
        return self._finish()

    def _run_alone(self, connection: Connection) -> None:
        """One request at a time needs no epoll: a call of the kernel less in each round trip."""
        waiting = struct.pack("ll", 0, int(WAIT_SECONDS * 1e6))
        connection.socket.setblocking(True)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, waiting)
        while self._open and self._goes_on():
            self._receive(connection)

    def _goes_on(self) -> bool:
        """Look at the clock: the warm-up ends, sending ends, or all does."""
        now = time.monotonic_ns()
        if now < self._next_turn:
            return True
        timing = self._timing
        if now < timing.stop_at:
            self._reset(now)
            self._next_turn = timing.stop_at
        else:
            self._sending = False
            self._next_turn = timing.give_up_at
        return now < timing.give_up_at

    def _answered(self, connection: Connection, count: int, now: int) -> None:
        if self._sending:
            self._ask(connection, count, now)

    def _ask(self, connection: Connection, count: int, now: int) -> None:
        self._open += count
        connection.sent.append((now, count))
        self._send(connection, self._source.take(count))


class OpenLoop(_Loop):
    """Requests leave at their times, whether or not earlier ones were answered.

    A request's latency counts from when it was due: a server that stalls makes all that were
    due meanwhile late, as it would for users who do not know of each other. `phase`, from 0
    to 1, shifts the arrivals by this part of the time between two.
    """

    def __init__(
        self,
        connections: list[Connection],
        source: FrameSource,
        timing: Timing,
        rate_per_second: float,
        phase: float,
    ) -> None:
        super().__init__(connections, source, timing, MAX_RECEIVE_BYTES // 4)
        self._connections = connections
        self._gap_ns = 1e9 / rate_per_second
        self._first = timing.begun + phase * self._gap_ns
        self._rate = rate_per_second
        self._issued = 0

    def run(self) -> LoadResult:
        """Run to the end. Raises BenchError on a lost connection and a hopeless backlog."""
        timing = self._timing
        warm = timing.measure_at <= timing.begun
        poll_fd = [self._poll.fileno()]
        while True:
            now = time.monotonic_ns()
            if now >= timing.stop_at:
                if not self._open or now >= timing.give_up_at:
                    break
                self._serve(self._poll.poll(0.1))
                continue
            if not warm and now >= timing.measure_at:
                warm = True
                self._reset(now)
            due_in_ns = self._issue(now)
            if due_in_ns > SPIN_NS:
                # epoll counts in milliseconds, select in microseconds.
                select.select(poll_fd, [], [], (due_in_ns - SPIN_NS) / 1e9)
            self._serve(self._poll.poll(0))
        return self._finish()

    def _issue(self, now: int) -> float:
        """Send what is due; nanoseconds until the next arrival."""
        connections, late = self._connections, self._result.late
        while (due := self._first + self._issued * self._gap_ns) <= now:
            connection = connections[self._issued % len(connections)]
            self._issued += 1
            self._open += 1
            connection.sent.append((int(due), 1))
            late.record(now - int(due))
            self._send(connection, self._source.take(1))
        if self._open > MAX_BEHIND:
            raise BenchError(
                f"{self._open:,} requests wait for an answer: the server does not keep up with "
                f"{self._rate:,.0f} a second and process; lower --rate"
            )
        return due - now
