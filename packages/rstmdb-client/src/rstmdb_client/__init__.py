"""The rstmdb client: every operation, async and blocking, pipelined, with resuming watches."""

from ._async_watch import AsyncWatch
from ._batch import BatchBuilder
from ._client import Client
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
    RstmdbError,
    ServerError,
    UnauthorizedError,
    UnsupportedProtocolError,
    WalIoError,
    WatchEnded,
)
from ._sync import SyncClient
from ._url import Target
from ._watch import SyncWatch

__all__ = [
    "ERROR_CLASSES",
    "AsyncWatch",
    "AuthFailedError",
    "BadRequestError",
    "BatchBuilder",
    "BatchNotRun",
    "Client",
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
    "RstmdbError",
    "ServerError",
    "SyncClient",
    "SyncWatch",
    "Target",
    "UnauthorizedError",
    "UnsupportedProtocolError",
    "WalIoError",
    "WatchEnded",
]
