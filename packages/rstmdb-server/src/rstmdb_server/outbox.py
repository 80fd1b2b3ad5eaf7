"""What a connection is owed: answers in the order of its requests, and events between them.

An answer whose offset is not released yet is held, and with it all that follow. What may
leave is joined into one write.
"""

from __future__ import annotations

import logging
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from rstmdb_core import Rejection
from rstmdb_protocol import (
    FLAG_END_STREAM,
    FLAG_STREAM,
    MAX_PAYLOAD_BYTES,
    ErrorCode,
    Request,
    ResponseMeta,
    ServerConnection,
    encode_error,
    encode_ok,
)

from .answers import UNKNOWN, Agreed, Answered, Asked, Held, too_large, trace_of
from .errors import RequestRefused, to_wire
from .transport import Transport

if TYPE_CHECKING:
    from .hub import Hub
    from .subscriptions import Subscription

__all__ = ["Outbox"]

logger = logging.getLogger("rstmdb.session")


class Outbox:
    """The half of a session that faces the client; Session is the half that hears it."""

    __slots__ = (
        "_answered",
        "_began",
        "_durations",
        "_gate",
        "_held",
        "_held_bytes",
        "_out",
        "_sent_bytes",
        "closing",
        "connection",
        "greeted",
        "hub",
        "transport",
    )

    def __init__(self, hub: Hub, transport: Transport, connection: ServerConnection) -> None:
        self.hub = hub
        self.transport = transport
        self.connection = connection
        self.greeted = False
        """A whole request has been answered."""
        self.closing = False
        self._began = 0.0
        """When the requests at hand were taken up, on time.perf_counter."""
        self._durations = hub.metrics.request_duration
        self._gate = hub.committer
        self._answered: dict[str, int] = {}
        self._held: deque[Held] = deque()
        self._held_bytes = 0
        self._out: list[bytes] = []
        self._sent_bytes = 0

    def answer(
        self,
        request: Request,
        result: Any,
        offset: int = 0,
        *,
        wrote: bool = False,
        speaks: Agreed | None = None,
        starts: Subscription | None = None,
    ) -> None:
        """Answer with a result that rests on the record at `offset`."""
        payload = encode_ok(request.id, result, self._response_meta(request, offset, wrote))
        self.send(request, payload, offset, speaks=speaks, starts=starts)

    def refuse(self, request: Asked, error: Exception, *, count: bool = True) -> None:
        """Answer with an error; not to `count` it leaves it out of the requests handled."""
        payload, code = self.encode_refusal(request, error)
        self.send(request, payload, _depends_on(error), error=code, count=count)

    def send(
        self,
        request: Asked,
        payload: bytes,
        offset: int = 0,
        *,
        error: str = "",
        count: bool = True,
        speaks: Agreed | None = None,
        starts: Subscription | None = None,
    ) -> None:
        """Send an answer once `offset` is released and all answers before it have left."""
        op = request.op if count and isinstance(request, Request) else ""
        answer = Held(
            request, payload, offset, self._began, op=op, error=error, speaks=speaks, starts=starts
        )
        if len(payload) > MAX_PAYLOAD_BYTES:
            self._turn_into_error(answer, *too_large(len(payload)))
        if self._held or offset > self._gate.released:
            self._hold(answer)
        else:
            if op:
                self._note_answered(op, 1)
            self._let_go(answer, perf_counter())

    def _hold(self, answer: Held) -> None:
        if not self._held:
            self.hub.waiting[self] = None
        self._held.append(answer)
        self._held_bytes += len(answer.payload)

    def _let_go(self, answer: Held, now: float) -> None:
        """Put an answer into the output, and do what is to be done as it leaves."""
        if answer.speaks is not None:
            self.connection.switch_writing(*answer.speaks)
        self._out.append(self.connection.pack_answer(answer.payload))
        if answer.starts is not None:
            answer.starts.start()
        observer = self.hub.observer
        if observer is not None:
            observer(self._describe(answer, now))

    def _describe(self, answer: Held, now: float) -> Answered:
        request = answer.request
        return Answered(
            self.transport.peer,
            None if request is None else request.id,
            trace_of(request),
            request.op if isinstance(request, Request) else "",
            answer.error,
            answer.began,
            now,
            answer.offset,
        )

    def reserve(self, request: Request) -> Held:
        """Keep the place of an answer that takes a while; `fulfil` fills it."""
        held = Held(request, b"", UNKNOWN, self._began, op=request.op)
        self._hold(held)
        return held

    def fulfil(self, held: Held, result: Any, offset: int = 0, *, wrote: bool = False) -> None:
        """Fill a reserved place with a result, or with the exception in place of one."""
        request = held.request
        if isinstance(result, Exception):
            held.payload, held.error = self.encode_refusal(request, result)
            offset = _depends_on(result)
        else:
            request_id = None if request is None else request.id
            meta = self._response_meta(request, offset, wrote)
            held.payload = encode_ok(request_id, result, meta)
        held.offset = offset
        if len(held.payload) > MAX_PAYLOAD_BYTES:
            self._turn_into_error(held, *too_large(len(held.payload)))
        self._held_bytes += len(held.payload)
        self.release()

    def encode_refusal(self, request: Asked, error: Exception) -> tuple[bytes, str]:
        """The error response for what was raised, and its code; a bug's exception is logged."""
        wire = to_wire(error)
        if wire is None:
            wire = self._explain_bug(request, error)
        code, message, details = wire
        self.hub.metrics.errors[code.value] += 1
        request_id = None if request is None else request.id
        meta = self._response_meta(request, 0, wrote=False)
        return encode_error(request_id, code, message, details, meta), code.value

    def _explain_bug(self, request: Asked, error: Exception) -> tuple[ErrorCode, str, None]:
        op = request.op if isinstance(request, Request) else "the request"
        context = {
            "op": op,
            "request_id": None if request is None else request.id,
            "trace_id": trace_of(request),
            "peer": self.transport.peer,
        }
        logger.error("%s failed: %s", op, error, exc_info=error, extra=context)
        return ErrorCode.INTERNAL_ERROR, f"{op} failed inside the server", None

    def release(self) -> None:
        """Let go of the answers that may leave now."""
        held = self._held
        released = self._gate.released
        now = perf_counter()
        op, began, alike = "", 0.0, 0  # answers to one op of one read are counted together
        while held and held[0].offset <= released:
            answer = held.popleft()
            self._held_bytes -= len(answer.payload)
            if answer.op is op and answer.began == began:
                alike += 1
            else:
                if op:
                    self._durations[op].observe(now - began, alike)
                op, began, alike = answer.op, answer.began, 1
            self._let_go(answer, now)
        if op:
            self._durations[op].observe(now - began, alike)
        if not held:
            self.hub.waiting.pop(self, None)
        self.flush()

    def fail(self, released: int, message: str) -> None:
        """Turn answers that rest on what was undone into WAL_IO_ERROR."""
        for answer in self._held:
            if released < answer.offset < UNKNOWN:
                self._held_bytes -= len(answer.payload)
                self._turn_into_error(answer, ErrorCode.WAL_IO_ERROR, message)
                self._held_bytes += len(answer.payload)

    def _turn_into_error(self, answer: Held, code: ErrorCode, message: str) -> None:
        request = answer.request
        request_id = None if request is None else request.id
        meta = self._response_meta(request, 0, wrote=False)
        answer.payload = encode_error(request_id, code, message, None, meta)
        answer.error = code.value
        answer.offset = 0
        if answer.starts is not None:
            self.hub.subscriptions.drop(answer.starts)
            answer.starts = None
        self.hub.metrics.errors[code.value] += 1

    def push(self, payload: bytes) -> None:
        """Queue an event of a subscription; `flush` sends it."""
        self._out.append(self.connection.pack_event(payload))

    def push_last(self, payload: bytes) -> None:
        """Queue the message that ends a subscription."""
        self._out.append(self.connection.pack(payload, FLAG_STREAM | FLAG_END_STREAM))

    def flush(self) -> None:
        """Hand all that may leave to the socket, in one write."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            self._sent_bytes += len(data)
            self.transport.write(data)
            out.clear()
            self.greeted = True
        if self.closing and not self._held:
            self.transport.close()

    def _response_meta(self, request: Asked, offset: int, wrote: bool) -> ResponseMeta | UnsetType:
        asked = request.meta if isinstance(request, Request) else request
        trace_id = None if asked is None else asked.trace_id
        if wrote:
            return ResponseMeta(offset or None, self.hub.server_time(), trace_id)
        return UNSET if trace_id is None else ResponseMeta(trace_id=trace_id)

    def _note_answered(self, op: str, count: int) -> None:
        """Note requests of one operation that were answered at once; `_count_answered` counts."""
        if count:
            answered = self._answered
            answered[op] = answered.get(op, 0) + count

    def _count_answered(self) -> None:
        """Count the requests that were answered at once: their answers leave together now."""
        answered = self._answered
        elapsed = perf_counter() - self._began
        for op, count in answered.items():
            self._durations[op].observe(elapsed, count)
        answered.clear()

    def buffered_bytes(self) -> int:
        """Bytes of answers and events that wait for this connection."""
        return self._held_bytes + self.transport.buffered()

    def taken_bytes(self) -> int:
        """Bytes that the socket has taken since the connection began."""
        return self._sent_bytes - self.transport.buffered()

    @property
    def has_pending(self) -> bool:
        """Whether answers still wait."""
        return bool(self._held)


def _depends_on(error: Exception) -> int:
    """The offset that must be released before the error may be told."""
    return error.depends_on if isinstance(error, Rejection | RequestRefused) else 0
