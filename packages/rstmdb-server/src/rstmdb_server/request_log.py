"""One structured line a request, at level debug: who asked what, how it went, how long it took."""

from __future__ import annotations

import logging

from .answers import Answered

__all__ = ["log_answered", "wanted"]

logger = logging.getLogger("rstmdb.requests")


def wanted() -> bool:
    """Whether the log is detailed enough to hold every request."""
    return logger.isEnabledFor(logging.DEBUG)


def log_answered(answered: Answered) -> None:
    """Log a request as its answer leaves. Params and results are the client's and stay out."""
    op = answered.op or "invalid request"
    logger.debug(
        "%s %s",
        op,
        answered.error or "ok",
        extra={
            "op": answered.op,
            "request_id": answered.request_id,
            "trace_id": answered.trace_id,
            "peer": answered.peer,
            "error": answered.error or None,
            "wal_offset": answered.offset or None,
            "duration_ms": round((answered.ended - answered.began) * 1000, 3),
        },
    )
