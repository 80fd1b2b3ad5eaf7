"""The rstmdb client: every operation, async and blocking, pipelined, with resuming watches."""

from typing import TYPE_CHECKING

from ._batch import BatchBuilder, BatchEntry
from ._errors import (
    ERROR_CLASSES,
    AuthFailedError,
    BadRequestError,
    BatchNotRun,
    ConflictError,
    ConnectFailed,
    ConnectionLost,
    GuardFailedError,
    InstanceExistsError,
    InstanceNotFoundError,
    InternalServerError,
    InvalidTransitionError,
    MachineNotFoundError,
    MachineVersionExistsError,
    MachineVersionLimitExceededError,
    NotFoundError,
    OutcomeUnknown,
    RateLimitedError,
    RequestTimeout,
    RequestTooLarge,
    RstmdbError,
    ServerError,
    TlsSetupFailed,
    UnauthorizedError,
    UnexpectedAnswer,
    UnsupportedProtocolError,
    WaitTimeout,
    WalIoError,
    WatchEnded,
)
from ._sync import SyncClient
from ._sync_watch import SyncWatch
from ._url import Target
from ._wait import Decision, Reached

if TYPE_CHECKING:
    from ._api import BatchApi, StateMachineDatabase, WatchApi
    from ._async_watch import AsyncWatch
    from ._client import Client

__all__ = [
    "ERROR_CLASSES",
    "AsyncWatch",
    "AuthFailedError",
    "BadRequestError",
    "BatchApi",
    "BatchBuilder",
    "BatchEntry",
    "BatchNotRun",
    "Client",
    "ConflictError",
    "ConnectFailed",
    "ConnectionLost",
    "Decision",
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
    "Reached",
    "RequestTimeout",
    "RequestTooLarge",
    "RstmdbError",
    "ServerError",
    "StateMachineDatabase",
    "SyncClient",
    "SyncWatch",
    "Target",
    "TlsSetupFailed",
    "UnauthorizedError",
    "UnexpectedAnswer",
    "UnsupportedProtocolError",
    "WaitTimeout",
    "WalIoError",
    "WatchApi",
    "WatchEnded",
]

# A program that blocks, such as the command line, starts sooner without anyio.
_LATE = {
    "AsyncWatch": "_async_watch",
    "BatchApi": "_api",
    "Client": "_client",
    "StateMachineDatabase": "_api",
    "WatchApi": "_api",
}


def __getattr__(name: str) -> object:
    """Import the async side, and what only type checkers need, when it is asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{_LATE[name]}", __name__), name)
    return value
