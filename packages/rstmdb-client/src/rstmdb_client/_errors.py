"""Exceptions of the client.

RstmdbError
├── ConnectFailed        no server could be reached, or it did not answer the greeting
│   └── TlsSetupFailed   a certificate or key file can't be used (an OSError, too)
├── ConnectionLost       the connection broke under a call that may be sent again
│   └── OutcomeUnknown   it broke under a write without an idempotency key
├── RequestTimeout       no answer in time (a TimeoutError, too)
├── RequestTooLarge      a request above the limit of the protocol; nothing was sent
├── UnexpectedAnswer     an answer that is not what the protocol promises
├── WatchEnded           a watch can't go on; `resume_from` says from where a new one can
├── WaitTimeout          a state was not reached in time (a TimeoutError, too)
├── BatchNotRun          results of a batch were asked for before it ran
└── ServerError          the server answered with an error; one subclass a code:
    UnsupportedProtocolError, BadRequestError, UnauthorizedError, AuthFailedError,
    NotFoundError, MachineNotFoundError, MachineVersionExistsError,
    MachineVersionLimitExceededError, InstanceNotFoundError, InstanceExistsError,
    InvalidTransitionError, GuardFailedError, ConflictError, WalIoError, InternalServerError,
    RateLimitedError
"""

from __future__ import annotations

from typing import Any

from rstmdb_protocol import ErrorBody, ErrorCode

__all__ = [
    "ERROR_CLASSES",
    "AuthFailedError",
    "BadRequestError",
    "BatchNotRun",
    "ConflictError",
    "ConnectFailed",
    "ConnectionLost",
    "GuardFailedError",
    "InstanceExistsError",
    "InstanceNotFoundError",
    "InternalServerError",
    "InvalidTransitionError",
    "MachineNotFoundError",
    "MachineVersionExistsError",
    "MachineVersionLimitExceededError",
    "NotFoundError",
    "OutcomeUnknown",
    "RateLimitedError",
    "RequestTimeout",
    "RequestTooLarge",
    "RstmdbError",
    "ServerError",
    "TlsSetupFailed",
    "UnauthorizedError",
    "UnexpectedAnswer",
    "UnsupportedProtocolError",
    "WaitTimeout",
    "WalIoError",
    "WatchEnded",
    "server_error",
]


class RstmdbError(Exception):
    """Root of this package's exceptions."""


class ConnectFailed(RstmdbError):
    """No server could be reached, or none answered the greeting in time."""


class TlsSetupFailed(ConnectFailed, OSError):
    """A certificate or key file is missing or can't be used: trying again is of no use."""


class ConnectionLost(RstmdbError):
    """The connection broke. `sent` is False where the request surely never left."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class OutcomeUnknown(ConnectionLost):
    """The connection broke under a write without an idempotency key: it may be done or not."""


class RequestTimeout(RstmdbError, TimeoutError):
    """No answer in time; whether a write was done is not known.

    The same write with the same idempotency key finds out, and does it at most once.
    """


class RequestTooLarge(RstmdbError, ValueError):
    """A request above 16 MiB; nothing was sent."""


class UnexpectedAnswer(RstmdbError):
    """An answer without a field that the protocol promises."""


class BatchNotRun(RstmdbError):
    """A batch has no results before its block ends."""


class WatchEnded(RstmdbError):
    """A watch can't go on: its instance was deleted, or its position was compacted away.

    `reason` is the server's word, for example `instance_deleted`, `flush_all` or `compacted`,
    or `closed` where `receive` was asked for an event of a watch that this side closed;
    `resume_from` is the offset from which a new watch can begin, None where there is none.
    """

    def __init__(self, reason: str, resume_from: int | None) -> None:
        super().__init__(reason, resume_from)
        self.reason = reason
        self.resume_from = resume_from

    def __str__(self) -> str:
        return f"the watch has ended: {self.reason}"


class WaitTimeout(RstmdbError, TimeoutError):
    """A state was not reached in time; `state` is what the instance was in when last seen."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message, state)
        self.state = state

    def __str__(self) -> str:
        return str(self.args[0])


class ServerError(RstmdbError):
    """The server answered with an error.

    `code` as in docs/reference/wire-protocol, `retryable` whether the same request may
    succeed later, `details` for programs.
    """

    def __init__(
        self, code: str, message: str, retryable: bool, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, message, retryable, details)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details: dict[str, Any] = details or {}

    def __str__(self) -> str:
        return self.message


class UnsupportedProtocolError(ServerError):
    """The server does not speak this version of the protocol."""


class BadRequestError(ServerError):
    """The request makes no sense; the message names the field."""


class UnauthorizedError(ServerError):
    """The server wants a token."""


class AuthFailedError(ServerError):
    """The token is not known to the server."""


class NotFoundError(ServerError):
    """An offset below the oldest record that is kept, for example."""


class MachineNotFoundError(ServerError):
    """There is no such machine or version."""


class MachineVersionExistsError(ServerError):
    """This version of the machine has another definition."""


class MachineVersionLimitExceededError(ServerError):
    """The machine has as many versions as the server allows."""


class InstanceNotFoundError(ServerError):
    """There is no such instance, or it was deleted."""


class InstanceExistsError(ServerError):
    """The id is taken."""


class InvalidTransitionError(ServerError):
    """The instance's state has no transition for the event; details name those it has."""


class GuardFailedError(ServerError):
    """No guard of the candidate transitions holds."""


class ConflictError(ServerError):
    """What was expected does not hold, or a key was used for another request."""


class WalIoError(ServerError):
    """The server could not write its log; nothing was changed."""


class InternalServerError(ServerError):
    """The server failed inside."""


class RateLimitedError(ServerError):
    """Too much was asked at once."""


ERROR_CLASSES: dict[str, type[ServerError]] = {
    ErrorCode.UNSUPPORTED_PROTOCOL: UnsupportedProtocolError,
    ErrorCode.BAD_REQUEST: BadRequestError,
    ErrorCode.UNAUTHORIZED: UnauthorizedError,
    ErrorCode.AUTH_FAILED: AuthFailedError,
    ErrorCode.NOT_FOUND: NotFoundError,
    ErrorCode.MACHINE_NOT_FOUND: MachineNotFoundError,
    ErrorCode.MACHINE_VERSION_EXISTS: MachineVersionExistsError,
    ErrorCode.MACHINE_VERSION_LIMIT_EXCEEDED: MachineVersionLimitExceededError,
    ErrorCode.INSTANCE_NOT_FOUND: InstanceNotFoundError,
    ErrorCode.INSTANCE_EXISTS: InstanceExistsError,
    ErrorCode.INVALID_TRANSITION: InvalidTransitionError,
    ErrorCode.GUARD_FAILED: GuardFailedError,
    ErrorCode.CONFLICT: ConflictError,
    ErrorCode.WAL_IO_ERROR: WalIoError,
    ErrorCode.INTERNAL_ERROR: InternalServerError,
    ErrorCode.RATE_LIMITED: RateLimitedError,
}
"""One class a code; a test checks that none is missing."""


def server_error(body: ErrorBody) -> ServerError:
    """The exception for an error response; an unknown code is a plain ServerError."""
    details = body.details if isinstance(body.details, dict) else None
    kind = ERROR_CLASSES.get(body.code, ServerError)
    return kind(body.code, body.message, body.retryable, details)
