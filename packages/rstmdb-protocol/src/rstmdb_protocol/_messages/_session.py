"""Session operations: HELLO, AUTH, PING, BYE, INFO."""

from __future__ import annotations

from ._types import Count, Message, Offset

__all__ = [
    "AuthParams",
    "AuthResult",
    "ByeResult",
    "HelloParams",
    "HelloResult",
    "InfoResult",
    "NoParams",
    "PingResult",
]


class NoParams(Message, frozen=True):
    """An operation that takes no parameters."""


class HelloParams(Message, frozen=True):
    """What the client speaks; `wire_modes` in order of preference."""

    protocol_version: int
    client_name: str | None = None
    wire_modes: list[str] | None = None
    features: list[str] | None = None


class HelloResult(Message, frozen=True):
    """What both sides speak from here on; `features` is the sorted intersection."""

    protocol_version: int
    wire_mode: str
    server_name: str
    server_version: str
    features: list[str]


class AuthParams(Message, frozen=True):
    """A bearer token."""

    token: str
    method: str | None = None


class AuthResult(Message, frozen=True):
    """The session is authenticated."""

    authenticated: bool


class PingResult(Message, frozen=True):
    """The server is alive."""

    pong: bool


class ByeResult(Message, frozen=True):
    """The server flushes what is left and closes."""

    goodbye: bool


class InfoResult(Message, frozen=True):
    """Facts about the server; `uptime_secs` in seconds, `wal_offset` is the head of the log."""

    server_name: str
    server_version: str
    protocol_version: int
    features: list[str]
    max_frame_bytes: Count
    max_batch_ops: Count
    uptime_secs: float | None = None
    connections: Count | None = None
    instances: Count | None = None
    machines: Count | None = None
    wal_offset: Offset | None = None
