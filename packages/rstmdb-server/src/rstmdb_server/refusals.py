"""What a session itself refuses: too many connections, too many requests, not authenticated."""

from __future__ import annotations

from rstmdb_protocol import ErrorCode

from .errors import RequestRefused

__all__ = ["closed_operation", "over_connections", "over_rate"]


def closed_operation(op: str) -> RequestRefused:
    """A known operation before AUTH."""
    return RequestRefused(ErrorCode.UNAUTHORIZED, f"{op} needs authentication: send AUTH first")


def over_connections(limit: int) -> RequestRefused:
    """One connection too many: the answer to its first request, whatever that is."""
    return RequestRefused(
        ErrorCode.RATE_LIMITED,
        f"the server has {limit} connections, the most it takes "
        "(network.max_connections); try again later",
        {"max_connections": limit},
    )


def over_rate(per_second: int) -> RequestRefused:
    """More requests than a connection may send."""
    return RequestRefused(
        ErrorCode.RATE_LIMITED,
        f"more than {per_second} requests a second on this connection "
        "(limits.requests_per_second); try again later",
    )
