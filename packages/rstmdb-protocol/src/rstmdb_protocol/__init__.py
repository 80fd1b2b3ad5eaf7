"""RCP, the wire protocol of rstmdb: frames, JSON lines, typed messages; bytes in, messages out."""

from typing import TYPE_CHECKING

from ._buffer import WireMode
from ._client import ClientConnection, ServerMessage
from ._errors import (
    RETRYABLE_CODES,
    ErrorCode,
    FrameError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    VersionError,
)
from ._frame import (
    COMPRESS_FROM_BYTES,
    FLAG_COMPRESSED,
    FLAG_CRC_PRESENT,
    FLAG_END_STREAM,
    FLAG_STREAM,
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    encode_frame,
)
from ._jsonl import encode_line
from ._messages._envelope import ErrorBody, RequestMeta, ResponseMessage, ResponseMeta
from ._messages._instances import (
    ApplyEventParams,
    ApplyEventResult,
    BatchItem,
    BatchOp,
    BatchParams,
    BatchResult,
    CreateInstanceParams,
    CreateInstanceResult,
    DeleteInstanceParams,
    DeleteInstanceResult,
    GetInstanceParams,
    GetInstanceResult,
    InstanceSummary,
    ListInstancesParams,
    ListInstancesResult,
)
from ._messages._log import (
    BackupParams,
    BackupResult,
    CompactParams,
    CompactResult,
    FlushAllResult,
    IoStats,
    SnapshotInstanceParams,
    SnapshotInstanceResult,
    WalReadParams,
    WalReadResult,
    WalRecord,
    WalStatsResult,
)
from ._messages._machines import (
    GetMachineParams,
    GetMachineResult,
    ListMachinesParams,
    ListMachinesResult,
    MachineVersions,
    PutMachineParams,
    PutMachineResult,
)
from ._messages._session import (
    AuthParams,
    AuthResult,
    ByeResult,
    HelloParams,
    HelloResult,
    InfoResult,
    NoParams,
    PingResult,
)
from ._messages._types import JsonObject, Message
from ._messages._watch import (
    EndMessage,
    EventMessage,
    UnwatchParams,
    UnwatchResult,
    WatchAllParams,
    WatchAllResult,
    WatchInstanceParams,
    WatchInstanceResult,
)
from ._operations import BATCH_OPERATIONS, FEATURES, OPERATIONS, Feature, Operation
from ._responses import encode_error, encode_json, encode_ok, error_body

if TYPE_CHECKING:
    from ._requests import REQUEST_TYPES, InvalidRequest, Request, decode_params, decode_request
    from ._server import ServerConnection

__all__ = [
    "BATCH_OPERATIONS",
    "COMPRESS_FROM_BYTES",
    "FEATURES",
    "FLAG_COMPRESSED",
    "FLAG_CRC_PRESENT",
    "FLAG_END_STREAM",
    "FLAG_STREAM",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_PAYLOAD_BYTES",
    "OPERATIONS",
    "PROTOCOL_VERSION",
    "REQUEST_TYPES",
    "RETRYABLE_CODES",
    "ApplyEventParams",
    "ApplyEventResult",
    "AuthParams",
    "AuthResult",
    "BackupParams",
    "BackupResult",
    "BatchItem",
    "BatchOp",
    "BatchParams",
    "BatchResult",
    "ByeResult",
    "ClientConnection",
    "CompactParams",
    "CompactResult",
    "CreateInstanceParams",
    "CreateInstanceResult",
    "DeleteInstanceParams",
    "DeleteInstanceResult",
    "EndMessage",
    "ErrorBody",
    "ErrorCode",
    "EventMessage",
    "Feature",
    "FlushAllResult",
    "FrameError",
    "GetInstanceParams",
    "GetInstanceResult",
    "GetMachineParams",
    "GetMachineResult",
    "HelloParams",
    "HelloResult",
    "InfoResult",
    "InstanceSummary",
    "InvalidRequest",
    "IoStats",
    "JsonObject",
    "ListInstancesParams",
    "ListInstancesResult",
    "ListMachinesParams",
    "ListMachinesResult",
    "LocalProtocolError",
    "MachineVersions",
    "Message",
    "NoParams",
    "Operation",
    "PingResult",
    "ProtocolError",
    "PutMachineParams",
    "PutMachineResult",
    "RemoteProtocolError",
    "Request",
    "RequestMeta",
    "ResponseMessage",
    "ResponseMeta",
    "ServerConnection",
    "ServerMessage",
    "SnapshotInstanceParams",
    "SnapshotInstanceResult",
    "UnwatchParams",
    "UnwatchResult",
    "VersionError",
    "WalReadParams",
    "WalReadResult",
    "WalRecord",
    "WalStatsResult",
    "WatchAllParams",
    "WatchAllResult",
    "WatchInstanceParams",
    "WatchInstanceResult",
    "WireMode",
    "decode_params",
    "decode_request",
    "encode_error",
    "encode_frame",
    "encode_json",
    "encode_line",
    "encode_ok",
    "error_body",
]

# A client starts sooner without the server's side: docs/decisions/0006-start-up.md.
_LATE = {
    "REQUEST_TYPES": "_requests",
    "InvalidRequest": "_requests",
    "Request": "_requests",
    "ServerConnection": "_server",
    "decode_params": "_requests",
    "decode_request": "_requests",
}


def __getattr__(name: str) -> object:
    """Import the server's side when it is asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{_LATE[name]}", __name__), name)
    return value
