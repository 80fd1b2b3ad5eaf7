"""One connection's session: bytes in, bytes out, no awaits and no I/O of its own.

A session handles every whole request that has arrived and joins the answers into one write.
An answer whose offset is not released yet is held, and with it all that follow, since a
connection's answers leave in the order of its requests.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from rstmdb_core import Rejection
from rstmdb_protocol import (
    MAX_PAYLOAD_BYTES,
    ErrorCode,
    InvalidRequest,
    RemoteProtocolError,
    Request,
    RequestMeta,
    ResponseMeta,
    ServerConnection,
    WireMode,
    encode_error,
    encode_ok,
)

from .answers import UNKNOWN, Held, too_large
from .errors import RequestRefused, to_wire
from .rate import TokenBucket
from .transport import Transport

if TYPE_CHECKING:
    from .hub import Hub
    from .subscriptions import Subscription

__all__ = ["Session"]

logger = logging.getLogger("rstmdb.session")

OUT_BYTES = 256 * 1024
"""Answers of more than this are handed to the socket before the next request is handled."""
HELD_BYTES = 4 * 1024 * 1024
"""Reading pauses while answers of more than this wait on one connection."""


class Session:
    """The state of one connection."""

    __slots__ = (
        "_answered",
        "_began",
        "_held",
        "_held_bytes",
        "_log",
        "_max_inflight",
        "_op",
        "_out",
        "_pack",
        "_rate",
        "_reading",
        "accepts",
        "auth_failures",
        "authenticated",
        "closing",
        "connection",
        "greeted",
        "hub",
        "last_active",
        "opened",
        "over_limit",
        "special",
        "stalled_since",
        "subscriptions",
        "tokens",
        "transport",
        "writable",
    )

    def __init__(self, hub: Hub, transport: Transport) -> None:
        self.hub = hub
        self.transport = transport
        config = hub.config
        self.authenticated = not config.auth.required
        before_auth = MAX_PAYLOAD_BYTES if self.authenticated else 64 * 1024
        self.connection = ServerConnection(max_payload_bytes=before_auth)
        self.accepts, self.special = hub.open_tables if self.authenticated else hub.closed_tables
        self.over_limit = len(hub.sessions) >= config.network.max_connections
        """One connection too many: its first request is refused, whatever it is."""
        if self.over_limit:
            self.accepts, self.special = {}, {}
        self.auth_failures = 0
        self.greeted = False
        """A whole request has been answered."""
        self.closing = False
        self.opened = self.last_active = hub.monotonic()
        self.subscriptions: dict[str, Subscription] = {}
        self.writable = True
        self.stalled_since: float | None = None
        self._reading = True
        self._op = ""
        self._began = 0.0
        self._max_inflight = config.limits.max_inflight
        self._pack = self.connection.packer()
        self._answered: dict[str, int] = {}
        self._log = hub.store.log
        self._held: deque[Held] = deque()
        self._held_bytes = 0
        per_second = config.limits.requests_per_second
        self._rate = TokenBucket(per_second) if per_second else None
        self._out: list[bytes] = []

    # -- bytes in -------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Handle all whole requests in what has arrived so far."""
        self.last_active = self.hub.now
        self.connection.feed(data)
        if self._reading:
            self.process()

    def process(self) -> None:
        """Handle requests until none is left, or too many answers wait."""
        self._began = perf_counter()
        self._pack = self.connection.packer()
        try:
            self._handle_all()
        except RemoteProtocolError as error:
            self._break_off(error)
        self._count_answered()
        self.flush()
        log = self._log
        if log.head > log.released:
            self.hub.commit_soon()

    def _handle_all(self) -> None:
        """The hot path: a plain command costs no call here but its own and the encoding."""
        held = self._held
        out = self._out
        answered = self._answered
        log = self._log
        rate = self._rate
        out_bytes = 0
        for request in self.connection.requests():
            if self.closing:
                break
            if rate is not None and not rate.take(self._began):
                self._refuse_over_rate(request)
                continue
            accept = self.accepts.get(type(request))
            if accept is None:
                self._handle_special(request)
            else:
                command, writes, op = accept
                try:
                    result, offset = command(request.params)  # type: ignore[union-attr]
                except Exception as error:  # noqa: BLE001 (every failure becomes an answer)
                    self._op = op
                    self.refuse(request, error)  # type: ignore[arg-type]
                else:
                    meta = request.meta  # type: ignore[union-attr]
                    if writes or meta is not None:
                        meta = self._response_meta(meta, offset, writes)
                    else:
                        meta = UNSET
                    payload = encode_ok(request.id, result, meta)
                    size = len(payload)
                    if held or offset > log.released or size > MAX_PAYLOAD_BYTES:
                        self._op = op
                        self.send(request.id, payload, offset)
                    else:
                        out.append(self._pack(payload))
                        answered[op] = answered.get(op, 0) + 1
                        out_bytes += size
            if held:
                if len(held) >= self._max_inflight or self._held_bytes > HELD_BYTES:
                    self._pause()
                    break
            elif out_bytes > OUT_BYTES:
                self.flush()
                out_bytes = 0
                if not self.writable:
                    self._pause()
                    break

    def speak(self, mode: WireMode, features: Sequence[str]) -> None:
        """From the next answer on speak as HELLO agreed."""
        self.connection.switch(mode, features)
        self._pack = self.connection.packer()

    def _response_meta(self, meta: RequestMeta | None, offset: int, writes: bool) -> ResponseMeta:
        trace_id = None if meta is None else meta.trace_id
        if writes:
            return ResponseMeta(offset or None, self.hub.server_time(), trace_id)
        return ResponseMeta(trace_id=trace_id)

    def _count_answered(self) -> None:
        """Count the requests that were answered at once: their answers leave together now."""
        answered = self._answered
        if not answered:
            return
        metrics = self.hub.metrics
        elapsed = perf_counter() - self._began
        for op, count in answered.items():
            metrics.requests[op] += count
            metrics.request_duration[op].observe(elapsed, count)
        answered.clear()

    def _handle_special(self, request: Any) -> None:
        """What touches the session itself, takes long, or is refused."""
        if isinstance(request, InvalidRequest):
            self._op = ""
            if self.over_limit:
                self._refuse_over_limit(request.id)
                return
            self.hub.metrics.errors[request.code.value] += 1
            self.send(
                request.id,
                encode_error(request.id, request.code, request.message, request.details),
            )
            return
        self._op = request.op
        special = self.special.get(type(request))
        if special is None:
            self._refuse_closed(request)
            return
        try:
            special(self, request)
        except Exception as error:  # noqa: BLE001 (every failure becomes an answer)
            self.refuse(request, error)

    def _refuse_closed(self, request: Request) -> None:
        """A known operation that is not open to this session."""
        if self.over_limit:
            self._refuse_over_limit(request.id)
            return
        refusal = RequestRefused(
            ErrorCode.UNAUTHORIZED, f"{request.op} needs authentication: send AUTH first"
        )
        self.refuse(request, refusal)

    def _refuse_over_limit(self, request_id: str | None) -> None:
        """One connection too many: the answer to its first request, whatever that is."""
        limit = self.hub.config.network.max_connections
        self._op = ""
        self.hub.metrics.errors[ErrorCode.RATE_LIMITED.value] += 1
        message = (
            f"the server has {limit} connections, the most it takes "
            "(network.max_connections); try again later"
        )
        self.send(
            request_id,
            encode_error(request_id, ErrorCode.RATE_LIMITED, message, {"max_connections": limit}),
        )
        self.close()

    def _refuse_over_rate(self, request: Request | InvalidRequest) -> None:
        self._op = ""
        per_second = self.hub.config.limits.requests_per_second
        message = (
            f"more than {per_second} requests a second on this connection "
            "(limits.requests_per_second); try again later"
        )
        self.hub.metrics.errors[ErrorCode.RATE_LIMITED.value] += 1
        self.send(request.id, encode_error(request.id, ErrorCode.RATE_LIMITED, message))

    def _break_off(self, error: RemoteProtocolError) -> None:
        """Say what was wrong with the stream, and close."""
        logger.info("closing %s: %s", self.transport.peer, error)
        self.hub.metrics.errors[error.code.value] += 1
        self._op = ""
        self.send(None, encode_error(None, error.code, str(error)))
        self.close()

    # -- answers --------------------------------------------------------------------------

    def send(
        self,
        request_id: str | None,
        payload: bytes,
        offset: int = 0,
        starts: Subscription | None = None,
    ) -> None:
        """Send an answer once `offset` is released and all answers before it have left."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            payload = too_large(request_id, len(payload))
        if self._held or offset > self._log.released:
            if not self._held:
                self.hub.waiting[self] = None
            self._held.append(Held(offset, request_id, payload, self._op, self._began, starts))
            self._held_bytes += len(payload)
            return
        self._out.append(self._pack(payload))
        if self._op:
            self._answered[self._op] = self._answered.get(self._op, 0) + 1
        if starts is not None:
            starts.start()

    def reserve(self, request_id: str) -> Held:
        """Keep the place of an answer that takes a while; `fulfil` fills it."""
        held = Held(UNKNOWN, request_id, b"", self._op, self._began)
        if not self._held:
            self.hub.waiting[self] = None
        self._held.append(held)
        return held

    def fulfil(self, held: Held, payload: bytes, offset: int = 0) -> None:
        """Fill a reserved place; the answer leaves when its turn comes."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            payload = too_large(held.request_id, len(payload))
        held.payload = payload
        held.offset = offset
        self._held_bytes += len(payload)
        self.release(self._log.released)

    def refuse(self, request: Request, error: Exception) -> None:
        """Answer a request with an error."""
        self.send(
            request.id,
            self.encode_refusal(request, error),
            error.depends_on if isinstance(error, Rejection) else 0,
        )

    def encode_refusal(self, request: Request, error: Exception) -> bytes:
        """The error response for what was raised; an unexpected exception is logged."""
        wire = to_wire(error)
        if wire is None:
            logger.error("%s failed: %s", request.op, error, exc_info=error)
            wire = (ErrorCode.INTERNAL_ERROR, f"{request.op} failed inside the server", None)
        code, message, details = wire
        self.hub.metrics.errors[code.value] += 1
        meta = UNSET if request.meta is None else ResponseMeta(trace_id=request.meta.trace_id)
        return encode_error(request.id, code, message, details, meta)

    def release(self, released: int) -> None:
        """Let go of the answers that may leave now."""
        held = self._held
        metrics = self.hub.metrics
        now = perf_counter()
        while held and held[0].offset <= released:
            answer = held.popleft()
            self._held_bytes -= len(answer.payload)
            if answer.op:
                metrics.requests[answer.op] += 1
                metrics.request_duration[answer.op].observe(now - answer.began)
            self._out.append(self._pack(answer.payload))
            if answer.starts is not None:
                answer.starts.start()
        if not held:
            self.hub.waiting.pop(self, None)
        self.flush()
        if not self._reading and self.writable:
            self._resume()

    def fail(self, released: int, message: str) -> None:
        """Turn answers that rest on what was undone into WAL_IO_ERROR."""
        for answer in self._held:
            if released < answer.offset < UNKNOWN:
                self._held_bytes -= len(answer.payload)
                answer.payload = encode_error(answer.request_id, ErrorCode.WAL_IO_ERROR, message)
                self._held_bytes += len(answer.payload)
                answer.offset = 0
                if answer.starts is not None:
                    self.hub.subscriptions.drop(answer.starts)
                    answer.starts = None
                self.hub.metrics.errors[ErrorCode.WAL_IO_ERROR.value] += 1

    def push(self, payload: bytes, flags: int = 0) -> None:
        """Queue a message of a subscription; `flush` sends it."""
        self._out.append(self.connection.pack(payload, flags))

    def flush(self) -> None:
        """Hand all that may leave to the socket, in one write."""
        out = self._out
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
            self.greeted = True
        if self.closing and not self._held:
            self.transport.close()

    # -- flow and end ---------------------------------------------------------------------

    def _pause(self) -> None:
        self._reading = False
        self.transport.pause_reading()

    def _resume(self) -> None:
        if self.closing or len(self._held) > self.hub.config.limits.max_inflight // 2:
            return
        self._reading = True
        self.process()
        if self._reading:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The socket does not take what is sent fast enough."""
        self.writable = False
        self.stalled_since = self.hub.monotonic()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self.writable = True
        self.stalled_since = None
        for subscription in list(self.subscriptions.values()):
            subscription.wake()
        if not self._reading:
            self._resume()

    def close(self) -> None:
        """Send what is left, then close the connection."""
        self.closing = True
        self.hub.subscriptions.drop_session(self)

    def lost(self) -> None:
        """The connection is gone."""
        self.closing = True
        self._held.clear()
        self._out.clear()
        self.hub.forget(self)

    def buffered_bytes(self) -> int:
        """Bytes of answers and events that wait for this connection."""
        return self._held_bytes + self.transport.buffered()

    @property
    def has_pending(self) -> bool:
        """Whether answers still wait."""
        return bool(self._held)
