"""The closed loop: an answer is followed by the next request."""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Final

from ._frames import FrameSource, is_one_ok
from ._loop import MAX_RECEIVE_BYTES, Connection, Loop, Timing, lost
from ._result import LoadResult

__all__ = ["ClosedLoop"]

WAIT_SECONDS: Final = 0.1
"""How long a closed loop waits for an answer before it looks at the clock again."""


class ClosedLoop(Loop):
    """Each connection keeps its number of requests in flight.

    A receive has room for that many answers of `answer_bytes`: asking for much more than arrives
    costs the allocator more than the request costs the server.
    """

    def __init__(
        self,
        poll: select.epoll,
        connections: list[Connection],
        source: FrameSource,
        timing: Timing,
        in_flight: int,
        answer_bytes: int,
    ) -> None:
        receive = min(answer_bytes * in_flight, MAX_RECEIVE_BYTES)
        super().__init__(poll, connections, source, timing, receive)
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
        """One request at a time needs no epoll: the server's time is short, so ours must be."""
        waiting = struct.pack("ll", 0, int(WAIT_SECONDS * 1e6))
        connection.socket.setblocking(True)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, waiting)
        while self._open and self._goes_on():
            if self._sending and not connection.tail:
                self._exchange(connection)
            else:
                self._receive(connection)

    def _exchange(self, connection: Connection) -> None:
        """Ask again at each whole answer with status ok; leave all else to the general way.

        Returns, too, when the clock asks for something: a new interval, the end of the warm-up.
        """
        receive, send, take = connection.socket.recv, connection.socket.send, self._source.take
        clock, record, size = time.monotonic_ns, self._interval.record, self._receive_bytes
        until = min(self._next_turn, self._interval_ends)
        (asked, _) = connection.sent.pop()
        answered = 0
        try:
            data = receive(size)
            now = clock()
            while now < until and is_one_ok(data):
                record(now - asked)
                answered += 1
                asked = now
                send(take(1))
                data = receive(size)
                now = clock()
        except BlockingIOError:
            data = None
        except OSError as error:
            raise lost(error) from None
        connection.sent.append((asked, 1))
        self._result.ok += answered
        if answered:
            self._result.ended_ns = asked
        if data is not None:
            self._take_in(connection, data, now)

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
