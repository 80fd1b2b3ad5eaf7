"""What both loops share: connections, receiving, counting, sending what the socket did not take."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import Final

from ._connect import Session
from ._errors import BenchError
from ._frames import FrameSource, read_answers
from ._histogram import Histogram
from ._result import LoadResult

__all__ = ["MAX_RECEIVE_BYTES", "Connection", "Loop", "Timing", "lost"]

MAX_RECEIVE_BYTES: Final = 256 * 1024
"""What one receive or send takes at most."""
DRAIN_SECONDS: Final = 10
"""How long the last answers are waited for."""


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


class Loop:
    """Some connections and what they have seen; a subclass says when to send."""

    def __init__(
        self,
        poll: select.epoll,
        connections: list[Connection],
        source: FrameSource,
        timing: Timing,
        receive: int,
    ) -> None:
        self._by_fd = {each.socket.fileno(): each for each in connections}
        self._source = source
        self._timing = timing
        self._receive_bytes = receive
        self._poll = poll
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
            raise lost(error) from None
        self._take_in(connection, data, time.monotonic_ns())

    def _take_in(self, connection: Connection, data: bytes, now: int) -> None:
        """Count what has arrived, in whatever pieces."""
        if not data:
            raise BenchError("the server closed a connection during the run")
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
            raise lost(error) from None


def lost(error: OSError) -> BenchError:
    """What to raise for it."""
    return BenchError(f"the connection was lost during the run: {error}")
