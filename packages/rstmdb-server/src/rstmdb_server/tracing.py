"""OpenTelemetry spans: one a request, from the moment it is taken up until its answer leaves.

Imported only where tracing is enabled; it needs the extra `otel`. Where spans go and how many
are kept is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, ...).
"""

from __future__ import annotations

import re
import time
from time import perf_counter
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from . import SERVER_NAME, __version__
from .answers import Answered

__all__ = ["Tracing", "parent_of"]

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""W3C Trace Context, version 00."""


def parent_of(trace_id: str | None) -> Context | None:
    """The caller's span, where a request's meta.trace_id is a W3C traceparent; else None."""
    match = _TRACEPARENT.fullmatch(trace_id or "")
    if match is None:
        return None
    trace, span, flags = (int(part, 16) for part in match.groups())
    remote = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(remote)) if remote.is_valid else None


class Tracing:
    """Makes spans of answered requests and hands them to the exporter in the background."""

    def __init__(self) -> None:
        resource = Resource.create({"service.name": SERVER_NAME, "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("rstmdb_server", __version__)

    def observe(self, answered: Answered) -> None:
        """Make the span of a request whose answer leaves now."""
        now_ns = time.time_ns()
        began_ns = now_ns - int((perf_counter() - answered.began) * 1e9)
        attributes: dict[str, Any] = {
            "rpc.system": SERVER_NAME,
            "rpc.method": answered.op,
            "network.peer.address": answered.peer,
        }
        if answered.request_id is not None:
            attributes["rstmdb.request_id"] = answered.request_id
        if answered.trace_id is not None:
            attributes["rstmdb.trace_id"] = answered.trace_id
        if answered.offset:
            attributes["rstmdb.wal_offset"] = answered.offset
        span = self._tracer.start_span(
            answered.op or "invalid request",
            context=parent_of(answered.trace_id) or Context(),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=began_ns,
        )
        if answered.error:
            span.set_attribute("error.type", answered.error)
            span.set_status(Status(StatusCode.ERROR, answered.error))
        span.end(began_ns + int((answered.ended - answered.began) * 1e9))

    def close(self) -> None:
        """Export what is left; waits a few seconds at most."""
        self._provider.shutdown()
