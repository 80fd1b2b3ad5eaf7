"""Error codes of the protocol and the exceptions of this package.

The tree:

    ProtocolError
    ├── LocalProtocolError       this side tried to send what the protocol does not allow
    └── RemoteProtocolError      the other side broke the protocol; the connection must end
        ├── FrameError           magic, flags, lengths, checksum, compression, text that is no JSON
        └── VersionError         a protocol version that is not spoken here
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "RETRYABLE_CODES",
    "ErrorCode",
    "FrameError",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "VersionError",
]


class ErrorCode(StrEnum):
    """The closed set of error codes; clients parse them as an enum, so none is ever added."""

    UNSUPPORTED_PROTOCOL = "UNSUPPORTED_PROTOCOL"
    BAD_REQUEST = "BAD_REQUEST"
    UNAUTHORIZED = "UNAUTHORIZED"
    AUTH_FAILED = "AUTH_FAILED"
    NOT_FOUND = "NOT_FOUND"
    MACHINE_NOT_FOUND = "MACHINE_NOT_FOUND"
    MACHINE_VERSION_EXISTS = "MACHINE_VERSION_EXISTS"
    MACHINE_VERSION_LIMIT_EXCEEDED = "MACHINE_VERSION_LIMIT_EXCEEDED"
    INSTANCE_NOT_FOUND = "INSTANCE_NOT_FOUND"
    INSTANCE_EXISTS = "INSTANCE_EXISTS"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    GUARD_FAILED = "GUARD_FAILED"
    CONFLICT = "CONFLICT"
    WAL_IO_ERROR = "WAL_IO_ERROR"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    RATE_LIMITED = "RATE_LIMITED"


RETRYABLE_CODES = frozenset(
    {ErrorCode.WAL_IO_ERROR, ErrorCode.INTERNAL_ERROR, ErrorCode.RATE_LIMITED}
)
"""Codes of errors that may go away when the same request is sent again."""


class ProtocolError(Exception):
    """Root of this package's exceptions."""


class LocalProtocolError(ProtocolError):
    """What was to be sent is not allowed, for example a message above the frame limit."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. `code` is what a server answers before it closes."""

    code = ErrorCode.BAD_REQUEST


class FrameError(RemoteProtocolError):
    """A frame or line that can't be read; where the next one begins is unknown."""


class VersionError(RemoteProtocolError):
    """A frame, or a HELLO, of a protocol version that is not spoken here."""

    code = ErrorCode.UNSUPPORTED_PROTOCOL
