"""The one table from what storage and core raise to what goes on the wire."""

from __future__ import annotations

from typing import Any

import rstmdb_core as core
import rstmdb_storage as storage
from rstmdb_protocol import ErrorCode

__all__ = ["CODES", "RequestRefused", "to_wire"]


class RequestRefused(Exception):
    """A refusal of the server's own, with its code: authentication, limits, settings.

    `depends_on` is the offset that must be released before it may be told, as in a Rejection.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        details: dict[str, Any] | None = None,
        depends_on: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.depends_on = depends_on


CODES: dict[type[Exception], ErrorCode] = {
    core.InvalidRequest: ErrorCode.BAD_REQUEST,
    core.MachineNotFound: ErrorCode.MACHINE_NOT_FOUND,
    core.MachineVersionExists: ErrorCode.MACHINE_VERSION_EXISTS,
    core.MachineVersionLimitExceeded: ErrorCode.MACHINE_VERSION_LIMIT_EXCEEDED,
    core.InstanceNotFound: ErrorCode.INSTANCE_NOT_FOUND,
    core.InstanceExists: ErrorCode.INSTANCE_EXISTS,
    core.InvalidTransition: ErrorCode.INVALID_TRANSITION,
    core.GuardFailed: ErrorCode.GUARD_FAILED,
    core.Conflict: ErrorCode.CONFLICT,
    storage.OffsetGone: ErrorCode.NOT_FOUND,
    storage.WriteFailed: ErrorCode.WAL_IO_ERROR,
    storage.SnapshotFailed: ErrorCode.WAL_IO_ERROR,
    storage.BackupFailed: ErrorCode.WAL_IO_ERROR,
    storage.InvalidBackupTarget: ErrorCode.BAD_REQUEST,
}
"""Wire codes by exception class; what is not here is INTERNAL_ERROR, and logged."""

Wire = tuple[ErrorCode, str, dict[str, Any] | None]


def to_wire(error: Exception) -> Wire | None:
    """Code, message and details for an expected exception; None for one that is a bug."""
    if isinstance(error, RequestRefused):
        return error.code, error.message, error.details
    if isinstance(error, storage.BatchAborted):
        wire = to_wire(error.cause)
        if wire is None:
            return None
        code, message, details = wire
        return code, message, {**(details or {}), "index": error.index}
    code_or_none = CODES.get(type(error))
    if code_or_none is None:
        return None
    if isinstance(error, core.Rejection):
        return code_or_none, error.message, error.details
    if isinstance(error, storage.OffsetGone):
        return code_or_none, str(error), {"earliest_offset": error.earliest_offset}
    return code_or_none, str(error), None
