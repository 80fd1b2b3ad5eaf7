"""Once a second: deadlines, idle and stuck connections, buffers, and how late the timer was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from rstmdb_storage import split_offset

if TYPE_CHECKING:
    from .hub import Hub
    from .session import Session

__all__ = ["Housekeeper"]

logger = logging.getLogger("rstmdb.server")

SWEEP_SECS = 1.0
IMPRECISE_SOON_SEGMENT = 6000


class Housekeeper:
    """Looks after what no request and no byte would wake the server for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stuck: dict[Session, tuple[int, float]] = {}
        """Sessions with output that waits: what their sockets had taken, and since when."""
        self._warned_of_precision = False

    async def run(self) -> None:
        """Sweep once a second until cancelled."""
        hub = self._hub
        while True:
            expected = hub.monotonic() + SWEEP_SECS
            await anyio.sleep(SWEEP_SECS)
            now = hub.now = hub.monotonic()
            hub.metrics.event_loop_lag.observe(max(0.0, now - expected))
            self.sweep(now)

    def sweep(self, now: float) -> None:
        """Close what is over a deadline or a limit; `now` on hub.monotonic."""
        for session in list(self._hub.sessions):
            self._enforce_deadlines(session, now)
        self._stuck = {s: since for s, since in self._stuck.items() if s in self._hub.sessions}
        self._enforce_buffers()
        self._watch_precision()

    def _enforce_deadlines(self, session: Session, now: float) -> None:
        limits = self._hub.config.limits
        if self._stuck_secs(session, now) > limits.write_timeout_secs:
            logger.info(
                "closing %s: it takes no bytes (limits.write_timeout_secs)", session.transport.peer
            )
            session.transport.abort()
        elif not session.greeted and now - session.opened > limits.handshake_timeout_secs:
            logger.info(
                "closing %s: no whole request in time (limits.handshake_timeout_secs)",
                session.transport.peer,
            )
            session.transport.abort()
        elif (
            # `last_active` may be a sweep behind.
            now - session.last_active > self._hub.config.network.idle_timeout_secs + SWEEP_SECS
            and not session.subscriptions
            and not session.has_pending
            and not session.transport.buffered()
        ):
            session.close()
            session.flush()

    def _stuck_secs(self, session: Session, now: float) -> float:
        """For how long bytes have waited for a socket that took none."""
        if not session.transport.buffered():
            self._stuck.pop(session, None)
            return 0.0
        taken = session.taken_bytes()
        before, since = self._stuck.get(session, (-1, now))
        if taken != before:
            self._stuck[session] = (taken, now)
            return 0.0
        return now - since

    def _enforce_buffers(self) -> None:
        """Close the connections that hold most until all together are within the limit."""
        hub = self._hub
        held = [(session.buffered_bytes(), session) for session in hub.sessions]
        total = sum(size for size, _ in held)
        limit = hub.config.limits.max_buffered_bytes
        if total <= limit:
            return
        for size, session in sorted(held, key=lambda pair: -pair[0]):
            if total <= limit:
                return
            logger.warning(
                "closing %s: %d bytes wait for it, and all connections together are over "
                "limits.max_buffered_bytes",
                session.transport.peer,
                size,
            )
            session.transport.abort()
            total -= size

    def _watch_precision(self) -> None:
        """Warn once, long before offsets pass what JavaScript's numbers hold exactly."""
        segment_id = split_offset(self._hub.store.log.head)[0]
        if segment_id >= IMPRECISE_SOON_SEGMENT and not self._warned_of_precision:
            self._warned_of_precision = True
            logger.warning(
                "the log has reached segment %d; from segment 8192 on offsets are larger than "
                "JavaScript clients can hold exactly: plan a `rstmdb-cli restore --renumber`",
                segment_id,
            )
