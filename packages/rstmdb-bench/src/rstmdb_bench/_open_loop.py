"""The open loop: requests leave at their times."""

from __future__ import annotations

import select
import time
from typing import Final

from ._errors import BenchError
from ._frames import FrameSource
from ._loop import MAX_RECEIVE_BYTES, Connection, Loop, Timing
from ._result import LoadResult

__all__ = ["OpenLoop"]

SPIN_NS: Final = 100_000
"""An open loop sleeps until so long before the next arrival, then looks at the clock: the
kernel wakes a sleeper some 60 microseconds late, which would count as the server's."""
MAX_BEHIND: Final = 1_000_000
"""An open loop ends when so many requests wait for their answers."""


class OpenLoop(Loop):
    """Requests leave at their times, whether or not earlier ones were answered.

    A request's latency counts from when it was due: a server that stalls makes all that were
    due meanwhile late, as it would for users who do not know of each other. `phase`, from 0
    to 1, shifts the arrivals by this part of the time between two. `poll` has to have a low number,
    which it gets by being made before the connections: select(2) takes none above 1023.
    """

    def __init__(
        self,
        poll: select.epoll,
        connections: list[Connection],
        source: FrameSource,
        timing: Timing,
        rate_per_second: float,
        phase: float,
    ) -> None:
        super().__init__(poll, connections, source, timing, MAX_RECEIVE_BYTES // 4)
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
