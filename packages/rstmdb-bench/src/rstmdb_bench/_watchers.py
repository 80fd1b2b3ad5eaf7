"""One event to many watchers: each a WATCH_ALL on a connection of its own.

An event counts as delivered when every watcher has it; then the next one is applied. So a
server is measured at the rate at which it delivers, not at the rate at which it falls behind.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field
from typing import Final

from ._connect import Address, Session, allow_files, prepare
from ._errors import BenchError
from ._frames import FrameSource, count_frames, read_answers
from ._histogram import Histogram
from ._workload import Shape, Workload

__all__ = ["WatchResult", "WatchSettings", "run_watchers"]

RECEIVE_BYTES: Final = 8192
STALL_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`watchers` subscriptions, `in_flight` events that are not yet delivered to all."""

    address: Address
    watchers: int
    in_flight: int
    seconds: float
    include_ctx: bool = True
    shape: Shape = field(default_factory=Shape)
    token: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class WatchResult:
    """Deliveries, and latencies from the send of an event to its arrival at each watcher."""

    events: int = 0
    deliveries: int = 0
    seconds: float = 0.0
    latencies: Histogram = field(default_factory=Histogram)

    @property
    def deliveries_per_second(self) -> float:
        """Over all watchers."""
        return self.deliveries / self.seconds if self.seconds > 0 else 0.0


def run_watchers(settings: WatchSettings) -> WatchResult:
    """Prepare the server, subscribe, apply events for a time. Raises BenchError."""
    allow_files(settings.watchers + 64)
    prepare(settings.address, settings.token, Workload.APPLY, settings.shape)
    sessions: list[Session] = []
    try:
        for _ in range(settings.watchers + 1):
            sessions.append(Session(settings.address, settings.token))  # noqa: PERF401 (a failure closes those before it)
        for session in sessions[1:]:
            session.call("WATCH_ALL", {"include_ctx": settings.include_ctx})
        return _Delivery(sessions[0], sessions[1:], settings).run()
    finally:
        for session in sessions:
            session.close()


class _Delivery:
    def __init__(self, writer: Session, watchers: list[Session], settings: WatchSettings) -> None:
        self._writer = writer.socket
        self._settings = settings
        self._sockets = {each.socket.fileno(): each.socket for each in watchers}
        self._seen = dict.fromkeys(self._sockets, 0)
        self._tails = dict.fromkeys(self._sockets, b"")
        self._source = FrameSource(Workload.APPLY, settings.shape, in_flight=settings.in_flight)
        self._sent_at: list[int] = []
        self._missing: list[int] = []
        """Of each event, how many watchers have yet to get it."""
        self._delivered = 0
        self._answers = b""
        self._result = WatchResult()

    def run(self) -> WatchResult:
        settings, result = self._settings, self._result
        begun = time.monotonic_ns()
        stop_at = begun + int(settings.seconds * 1e9)
        stalled_at = begun + STALL_SECONDS * 10**9
        with select.epoll() as poll:
            for fd in (*self._sockets, self._writer.fileno()):
                poll.register(fd, select.EPOLLIN)
            self._apply(settings.in_flight, begun)
            while self._delivered < len(self._sent_at):
                before = self._delivered
                ready = poll.poll(0.1)
                now = time.monotonic_ns()
                for fd, _ in ready:
                    if fd == self._writer.fileno():
                        self._read_answers()
                    else:
                        self._read_events(fd)
                more = self._delivered - before
                if more:
                    stalled_at = now + STALL_SECONDS * 10**9
                    if now < stop_at:
                        self._apply(more, now)
                elif now > stalled_at:
                    missing = sum(self._missing)
                    raise BenchError(f"{missing:,} events did not arrive in {STALL_SECONDS} s")
        result.events = len(self._sent_at)
        result.seconds = (time.monotonic_ns() - begun) / 1e9
        return result

    def _apply(self, count: int, now: int) -> None:
        self._sent_at += [now] * count
        self._missing += [len(self._sockets)] * count
        try:
            self._writer.sendall(self._source.take(count))
        except OSError as error:
            raise BenchError(f"the writer's connection was lost: {error}") from None

    def _read_answers(self) -> None:
        data = self._answers + self._writer.recv(65536)
        if len(data) == len(self._answers):
            raise BenchError("the server closed the writer's connection")
        answers = read_answers(data)
        self._answers = data[answers.end :]
        if answers.first_error is not None:
            raise BenchError(f"an event was refused: {answers.first_error}")

    def _read_events(self, fd: int) -> None:
        try:
            data = self._sockets[fd].recv(RECEIVE_BYTES)
        except OSError as error:
            raise BenchError(f"a watcher's connection was lost: {error}") from None
        if not data:
            raise BenchError("the server closed a watcher's connection")
        now = time.monotonic_ns()
        data = self._tails[fd] + data
        count, end = count_frames(data)
        self._tails[fd] = data[end:]
        first = self._seen[fd]
        self._seen[fd] = first + count
        if first + count > len(self._sent_at):
            raise BenchError("a watcher got more events than were applied")
        result = self._result
        result.deliveries += count
        for number in range(first, first + count):
            result.latencies.record(now - self._sent_at[number])
            self._missing[number] -= 1
        # Every watcher gets events in the order of the log, so they are done in that order.
        while self._delivered < len(self._missing) and not self._missing[self._delivered]:
            self._delivered += 1
