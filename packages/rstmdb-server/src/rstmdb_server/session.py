"""One connection's session: bytes in, bytes out, no awaits and no I/O of its own.

A session handles every whole request that has arrived and joins the answers into one write.
An answer whose offset is not released yet is held, and with it all that follow, since a
connection's answers leave in the order of its requests.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

from rstmdb_protocol import (
    MAX_PAYLOAD_BYTES,
    InvalidRequest,
    RemoteProtocolError,
    Request,
    ServerConnection,
    encode_ok,
)

from . import refusals
from .answers import Held
from .errors import RequestRefused
from .outbox import Outbox
from .rate import TokenBucket
from .transport import Transport

if TYPE_CHECKING:
    from .hub import Hub
    from .subscriptions import Subscription

__all__ = ["Session"]

logger = logging.getLogger("rstmdb.session")

OUT_BYTES = 256 * 1024
"""Answers of more than this are handed to the socket before the next request is handled."""
CHECKED_BYTES = 32 * 1024
"""After an answer of this or more a session looks at once whether it has to pause."""
TURN_SECS = 0.001
"""A connection that has more to be handled than this takes goes on after the others."""
TURN_BYTES = 64 * 1024
"""So does one of which so much arrived at once: event loops would read on and on."""
HELD_BYTES = 4 * 1024 * 1024
"""Reading pauses while answers of more than this wait on one connection."""


class Session(Outbox):
    """The state of one connection."""

    __slots__ = (
        "_log",
        "_max_inflight",
        "_rate",
        "_reading",
        "accepts",
        "auth_failures",
        "authenticated",
        "busy",
        "last_active",
        "opened",
        "over_limit",
        "special",
        "subscriptions",
        "writable",
    )

    def __init__(self, hub: Hub, transport: Transport, opened: float | None = None) -> None:
        """`opened`: when the socket was accepted, on hub.monotonic; now unless given."""
        config = hub.config
        self.authenticated = not config.auth.required
        before_auth = MAX_PAYLOAD_BYTES if self.authenticated else 64 * 1024
        super().__init__(hub, transport, ServerConnection(max_payload_bytes=before_auth))
        self.accepts, self.special = hub.open_tables if self.authenticated else hub.closed_tables
        self.over_limit = len(hub.sessions) >= config.network.max_connections
        """One connection too many: its first request is refused, whatever it is."""
        if self.over_limit:
            self.accepts, self.special = {}, {}
        self.auth_failures = 0
        self.last_active = hub.monotonic()
        self.opened = self.last_active if opened is None else opened
        self.subscriptions: dict[str, Subscription] = {}
        self.writable = True
        self.busy = False
        """A request is at work on a thread, and those behind it wait."""
        self._reading = True
        self._max_inflight = config.limits.max_inflight
        self._log = hub.store.log
        per_second = config.limits.requests_per_second
        self._rate = TokenBucket(per_second) if per_second else None

    # -- bytes in -------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Handle all whole requests in what has arrived so far."""
        self.last_active = self.hub.now
        self.connection.feed(data)
        if self._reading:
            self.process()
            if len(data) >= TURN_BYTES and self._reading:
                self._end_turn()

    def process(self) -> None:
        """Handle requests until none is left, or too many answers wait."""
        self._began = perf_counter()
        try:
            if not self.closing:
                self._handle_all()
        except RemoteProtocolError as error:
            self._break_off(error)
        if self._answered:
            self._count_answered()
        self.flush()
        log = self._log
        if log.head > log.released:
            self.hub.commit_soon()

    def _handle_all(self) -> None:
        """The hot path: a plain command costs no call here but its own and the encoding.

        The clock is looked at after each eighth of them, and after all that may take long.
        """
        held = self._held
        out = self._out
        gate = self._gate
        accepts = self.accepts
        began = self._began
        turn_ends = began + TURN_SECS
        rare = self._rate is not None or self.hub.observer is not None
        out_bytes = handled = run = 0
        run_op = ""  # of the last `run` answers, which are counted together
        try:
            requests = self.connection.requests()
            pack = self.connection.pack_answer
            for request in requests:
                accept = accepts.get(type(request))
                if accept is None or rare:
                    self._handle_rare(request)
                    accepts = self.accepts  # AUTH changes it
                    pack = self.connection.pack_answer  # HELLO changes it
                    size = CHECKED_BYTES
                else:
                    command, writes, op = accept
                    try:
                        result, offset = command(request.params)  # type: ignore[union-attr]
                    except Exception as error:  # noqa: BLE001 (every failure becomes an answer)
                        self.refuse(request, error)
                        size = CHECKED_BYTES
                    else:
                        if writes or request.meta is not None:  # type: ignore[union-attr]
                            meta = self._response_meta(request, offset, writes)
                            payload = encode_ok(request.id, result, meta)
                        else:
                            payload = encode_ok(request.id, result)
                        size = len(payload)
                        if size >= CHECKED_BYTES:
                            self.send(request, payload, offset)
                            out_bytes += size
                        elif held or offset > gate.released:
                            self._hold(Held(request, payload, offset, began, op))
                            if len(held) >= self._max_inflight:
                                size = CHECKED_BYTES
                        else:
                            out.append(pack(payload))
                            out_bytes += size
                            if op is run_op:
                                run += 1
                            else:
                                self._note_answered(run_op, run)
                                run_op, run = op, 1
                handled += 1
                if not handled & 7 or size >= CHECKED_BYTES:
                    if out_bytes > OUT_BYTES:
                        self.flush()
                        out_bytes = 0
                    if self._gives_way(turn_ends):
                        break
        finally:
            if run:
                self._durations[run_op].observe(perf_counter() - began, run)

    def _gives_way(self, turn_ends: float) -> bool:
        """Stop reading where too much waits, or where others have waited for long enough."""
        if self.closing:
            return True
        if (
            not self.writable
            or self.busy
            or len(self._held) >= self._max_inflight
            or self._held_bytes > HELD_BYTES
        ):
            self._pause()
            return True
        if perf_counter() > turn_ends:
            self._end_turn()
            return True
        return False

    def _end_turn(self) -> None:
        self._pause()
        self.hub.turns.ask(self)

    def take_turn(self) -> None:
        """Go on with what had to wait for the others."""
        if not self._reading and self.writable:
            self._resume()

    def _handle_rare(self, request: Request | InvalidRequest) -> None:
        """What the hot path leaves aside: rates, observers, special commands, refusals."""
        rate = self._rate
        if rate is not None and not rate.take(self._began):
            self.refuse(request, refusals.over_rate(rate.per_second), count=False)
        elif isinstance(request, InvalidRequest) or (
            (accept := self.accepts.get(type(request))) is None
        ):
            self._handle_special(request)
        else:
            command, writes, _ = accept
            try:
                result, offset = command(request.params)
            except Exception as error:  # noqa: BLE001 (every failure becomes an answer)
                self.refuse(request, error)
            else:
                self.answer(request, result, offset, wrote=writes)

    def _handle_special(self, request: Request | InvalidRequest) -> None:
        """What touches the session itself, takes long, or is refused."""
        if self.over_limit:
            limit = self.hub.config.network.max_connections
            self.refuse(request, refusals.over_connections(limit), count=False)
            self.close()
        elif isinstance(request, InvalidRequest):
            self.refuse(request, RequestRefused(request.code, request.message, request.details))
        else:
            special = self.special.get(type(request))
            try:
                if special is None:
                    raise refusals.closed_operation(request.op)
                special(self, request)
            except Exception as error:  # noqa: BLE001 (every failure becomes an answer)
                self.refuse(request, error)

    def _break_off(self, error: RemoteProtocolError) -> None:
        """Say what was wrong with the stream, and close."""
        logger.info("closing %s: %s", self.transport.peer, error)
        self.refuse(None, RequestRefused(error.code, str(error)))
        self.close()

    # -- flow and end ---------------------------------------------------------------------

    def release(self) -> None:
        """Let go of the answers that may leave now, and read on where that makes room."""
        super().release()
        if not self._reading and self.writable and self._has_room():
            self.hub.turns.ask(self)

    def _has_room(self) -> bool:
        """Whether what waits leaves room for more requests."""
        if self.closing or self.busy:
            return False
        return len(self._held) <= self._max_inflight // 2

    def _pause(self) -> None:
        self._reading = False
        self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._has_room():
            return
        self._reading = True
        self.process()
        if self._reading:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The socket does not take what is sent fast enough."""
        self.writable = False

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self.writable = True
        for subscription in list(self.subscriptions.values()):
            subscription.wake()
        if not self._reading:
            self.hub.turns.ask(self)

    def is_gone(self) -> bool:
        """Whether the client is, so that work for it is in vain; the connection then ends."""
        gone = self.transport.is_gone()
        if gone:
            self.transport.abort()
        return gone

    def close(self) -> None:
        """Send what is left, then close the connection."""
        self.closing = True
        self.hub.subscriptions.drop_session(self)

    def lost(self) -> None:
        """The connection is gone."""
        self.closing = True
        self._held.clear()
        self._out.clear()
        # The transport and this refer to each other: what was received must not wait for
        # a collection of garbage.
        self.connection = ServerConnection()
        self.hub.forget(self)
