"""Every operation of the protocol: its name, its types, and what it does to the database."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from ._frame import MAX_PAYLOAD_BYTES
from ._messages import _instances as instances
from ._messages import _log as log
from ._messages import _machines as machines
from ._messages import _session as session
from ._messages import _watch as watch
from ._messages._types import Message

__all__ = ["BATCH_OPERATIONS", "FEATURES", "OPERATIONS", "Feature", "Operation"]


class Feature(StrEnum):
    """What HELLO negotiates."""

    BACKUP = "backup"
    BATCH = "batch"
    IDEMPOTENCY = "idempotency"
    WAL_READ = "wal_read"
    WATCH = "watch"
    WATCH_END = "watch_end"
    ZSTD = "zstd"


FEATURES: tuple[Feature, ...] = tuple(sorted(Feature))


class Operation(NamedTuple):
    """One row of the tables in docs/reference/wire-protocol."""

    name: str
    params: type[Message]
    result: type[Message]
    mutates: bool = False
    """It changes the database, so a blind repeat may do so twice."""
    keyed: bool = False
    """It takes an idempotency key, which makes a repeat safe."""
    in_batch: bool = False
    """It may stand in a BATCH."""
    received: type[Message] | None = None
    """What a server decodes the params to, where that is not `params`."""
    max_bytes: int = 1 << 20
    """The largest request, as JSON."""


_ALL = (
    Operation("HELLO", session.HelloParams, session.HelloResult),
    Operation("AUTH", session.AuthParams, session.AuthResult),
    Operation("PING", session.NoParams, session.PingResult),
    Operation("BYE", session.NoParams, session.ByeResult),
    Operation("INFO", session.NoParams, session.InfoResult),
    Operation(
        "PUT_MACHINE",
        machines.PutMachineParams,
        machines.PutMachineResult,
        mutates=True,
        in_batch=True,
        received=machines.ReceivedPutMachineParams,
        max_bytes=4 << 20,
    ),
    Operation("GET_MACHINE", machines.GetMachineParams, machines.GetMachineResult, in_batch=True),
    Operation(
        "LIST_MACHINES", machines.ListMachinesParams, machines.ListMachinesResult, in_batch=True
    ),
    Operation(
        "CREATE_INSTANCE",
        instances.CreateInstanceParams,
        instances.CreateInstanceResult,
        mutates=True,
        keyed=True,
        in_batch=True,
        max_bytes=MAX_PAYLOAD_BYTES,
    ),
    Operation(
        "GET_INSTANCE", instances.GetInstanceParams, instances.GetInstanceResult, in_batch=True
    ),
    Operation(
        "LIST_INSTANCES",
        instances.ListInstancesParams,
        instances.ListInstancesResult,
        in_batch=True,
    ),
    Operation(
        "DELETE_INSTANCE",
        instances.DeleteInstanceParams,
        instances.DeleteInstanceResult,
        mutates=True,
        keyed=True,
        in_batch=True,
    ),
    Operation(
        "APPLY_EVENT",
        instances.ApplyEventParams,
        instances.ApplyEventResult,
        mutates=True,
        keyed=True,
        in_batch=True,
        max_bytes=MAX_PAYLOAD_BYTES,
    ),
    Operation(
        "BATCH",
        instances.BatchParams,
        instances.BatchResult,
        mutates=True,
        max_bytes=MAX_PAYLOAD_BYTES,
    ),
    Operation("WAL_READ", log.WalReadParams, log.WalReadResult),
    Operation("WAL_STATS", session.NoParams, log.WalStatsResult),
    Operation("SNAPSHOT_INSTANCE", log.SnapshotInstanceParams, log.SnapshotInstanceResult),
    Operation("COMPACT", log.CompactParams, log.CompactResult),
    Operation("BACKUP", log.BackupParams, log.BackupResult, mutates=True),
    Operation("FLUSH_ALL", session.NoParams, log.FlushAllResult, mutates=True),
    Operation("WATCH_INSTANCE", watch.WatchInstanceParams, watch.WatchInstanceResult),
    Operation("WATCH_ALL", watch.WatchAllParams, watch.WatchAllResult, max_bytes=256 << 10),
    Operation("UNWATCH", watch.UnwatchParams, watch.UnwatchResult),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _ALL}
"""Every operation by its name, in the order of the documentation."""

BATCH_OPERATIONS = frozenset(operation.name for operation in _ALL if operation.in_batch)
"""The operations that a BATCH may hold."""
