"""One description of every operation, for the async and the blocking client alike.

A call is an operation, its params, the type of its result, and whether it may be sent again
when nobody knows what became of it: reads always, PUT_MACHINE because a repeat changes
nothing, other writes when they carry an idempotency key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

import rstmdb_protocol as rcp

from ._errors import UnexpectedAnswer, server_error

__all__ = ["NOT_JSON", "Call", "Calls", "Raw", "not_json", "read_result"]

T = TypeVar("T")

Raw = dict[str, Any]
"""A result as the protocol has it."""

_REPEATABLE_WRITES = frozenset({"PUT_MACHINE"})


_OF_THE_CLIENT = frozenset({"HELLO", "BYE"})


NOT_JSON = (TypeError, UnicodeEncodeError, RecursionError)
"""What encoding raises for a thing, a string or a depth that JSON can't have."""


def not_json(what: str, error: Exception) -> TypeError:
    """The exception for params that can't be sent."""
    return TypeError(f"{what}: what JSON can't hold: {error}")


def read_result(op: str, answer: rcp.ResponseMessage, result: type[T]) -> T:
    """The typed result. Raises ServerError for an error, UnexpectedAnswer."""
    if answer.error is not None:
        raise server_error(answer.error)
    try:
        return msgspec.json.decode(answer.result, type=result)
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(f"{op}: an answer that can't be read: {error}") from error


class Call(NamedTuple, Generic[T]):
    """A request to be made."""

    op: str
    params: rcp.Message | Raw
    result: type[T]
    repeatable: bool

    def read(self, answer: rcp.ResponseMessage) -> T:
        """The typed result. Raises ServerError for an error, UnexpectedAnswer."""
        return read_result(self.op, answer, self.result)


class Calls:
    """Builds calls; with `auto_keys` every keyed write without a key gets one of its own."""

    def __init__(self, *, auto_keys: bool = True) -> None:
        self._auto_keys = auto_keys

    def _key(self, key: str | None) -> str | None:
        # As unlikely to come twice as a UUID, and made in a fifth of its time.
        return os.urandom(16).hex() if key is None and self._auto_keys else key

    def raw(self, op: str, params: Mapping[str, Any]) -> Call[Raw]:
        """Any operation, its result as it is on the wire. Raises ValueError for HELLO and BYE."""
        if op in _OF_THE_CLIENT:
            raise ValueError(f"{op} is the client's own to say")
        operation = rcp.OPERATIONS.get(op)
        params = dict(params)
        if operation is not None and operation.keyed:
            key = self._key(params.get("idempotency_key"))
            if key is not None:
                params["idempotency_key"] = key
        repeatable = operation is not None and (
            not operation.mutates
            or op in _REPEATABLE_WRITES
            or (operation.keyed and params.get("idempotency_key") is not None)
        )
        return Call(op, params, Raw, repeatable)

    def ping(self) -> Call[rcp.PingResult]:
        """PING."""
        return Call("PING", rcp.NoParams(), rcp.PingResult, True)

    def info(self) -> Call[rcp.InfoResult]:
        """INFO."""
        return Call("INFO", rcp.NoParams(), rcp.InfoResult, True)

    def put_machine(
        self, machine: str, version: int, definition: Any, checksum: str | None
    ) -> Call[rcp.PutMachineResult]:
        """PUT_MACHINE."""
        params = rcp.PutMachineParams(machine, version, definition, checksum)
        return Call("PUT_MACHINE", params, rcp.PutMachineResult, True)

    def get_machine(self, machine: str, version: int | None) -> Call[rcp.GetMachineResult]:
        """GET_MACHINE."""
        params = rcp.GetMachineParams(machine, version)
        return Call("GET_MACHINE", params, rcp.GetMachineResult, True)

    def list_machines(self, limit: int | None, offset: int | None) -> Call[rcp.ListMachinesResult]:
        """LIST_MACHINES."""
        params = rcp.ListMachinesParams(limit, offset)
        return Call("LIST_MACHINES", params, rcp.ListMachinesResult, True)

    def create_instance(
        self,
        machine: str,
        version: int,
        instance_id: str | None,
        initial_ctx: Raw | None,
        idempotency_key: str | None,
    ) -> Call[rcp.CreateInstanceResult]:
        """CREATE_INSTANCE."""
        key = self._key(idempotency_key)
        params = rcp.CreateInstanceParams(machine, version, instance_id, initial_ctx, key)
        return Call("CREATE_INSTANCE", params, rcp.CreateInstanceResult, key is not None)

    def get_instance(self, instance_id: str) -> Call[rcp.GetInstanceResult]:
        """GET_INSTANCE."""
        params = rcp.GetInstanceParams(instance_id)
        return Call("GET_INSTANCE", params, rcp.GetInstanceResult, True)

    def list_instances(
        self,
        machine: str | None,
        state: str | None,
        limit: int | None,
        offset: int | None,
        after: str | None,
    ) -> Call[rcp.ListInstancesResult]:
        """LIST_INSTANCES."""
        params = rcp.ListInstancesParams(machine, state, limit, offset, after)
        return Call("LIST_INSTANCES", params, rcp.ListInstancesResult, True)

    def delete_instance(
        self, instance_id: str, idempotency_key: str | None
    ) -> Call[rcp.DeleteInstanceResult]:
        """DELETE_INSTANCE."""
        key = self._key(idempotency_key)
        params = rcp.DeleteInstanceParams(instance_id, key)
        return Call("DELETE_INSTANCE", params, rcp.DeleteInstanceResult, key is not None)

    def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: Raw | None,
        expected_state: str | None,
        expected_wal_offset: int | None,
        event_id: str | None,
        idempotency_key: str | None,
    ) -> Call[rcp.ApplyEventResult]:
        """APPLY_EVENT."""
        key = self._key(idempotency_key)
        params = rcp.ApplyEventParams(
            instance_id, event, payload, expected_state, expected_wal_offset, event_id, key
        )
        return Call("APPLY_EVENT", params, rcp.ApplyEventResult, key is not None)

    def batch(self, ops: Sequence[Call[Any]], mode: str) -> Call[rcp.BatchResult]:
        """BATCH; repeatable when each of its operations is."""
        encoded = []
        for number, op in enumerate(ops):
            try:
                encoded.append(rcp.BatchOp(op.op, msgspec.Raw(rcp.encode_json(op.params))))
            except NOT_JSON as error:
                raise not_json(f"BATCH, operation {number}, {op.op}", error) from error
        repeatable = all(op.repeatable for op in ops)
        return Call("BATCH", rcp.BatchParams(encoded, mode), rcp.BatchResult, repeatable)

    def call_batch(self, ops: Sequence[Mapping[str, Any]], mode: str) -> Call[rcp.BatchResult]:
        """BATCH of operations as they are on the wire: `op`, and `params` where it has any."""
        return self.batch([self.raw(op["op"], op.get("params") or {}) for op in ops], mode)

    def wal_read(self, from_offset: int, limit: int | None) -> Call[rcp.WalReadResult]:
        """WAL_READ."""
        params = rcp.WalReadParams(from_offset, limit)
        return Call("WAL_READ", params, rcp.WalReadResult, True)

    def wal_stats(self) -> Call[rcp.WalStatsResult]:
        """WAL_STATS."""
        return Call("WAL_STATS", rcp.NoParams(), rcp.WalStatsResult, True)

    def snapshot_instance(self, instance_id: str) -> Call[rcp.SnapshotInstanceResult]:
        """SNAPSHOT_INSTANCE."""
        params = rcp.SnapshotInstanceParams(instance_id)
        return Call("SNAPSHOT_INSTANCE", params, rcp.SnapshotInstanceResult, True)

    def compact(self, force_snapshot: bool) -> Call[rcp.CompactResult]:
        """COMPACT."""
        params = rcp.CompactParams(force_snapshot or None)
        return Call("COMPACT", params, rcp.CompactResult, True)

    def backup(self, name: str | None) -> Call[rcp.BackupResult]:
        """BACKUP."""
        return Call("BACKUP", rcp.BackupParams(name), rcp.BackupResult, False)

    def flush_all(self) -> Call[rcp.FlushAllResult]:
        """FLUSH_ALL; a repeat could remove what was written in between."""
        return Call("FLUSH_ALL", rcp.NoParams(), rcp.FlushAllResult, False)

    def unwatch(self, subscription_id: str) -> Call[rcp.UnwatchResult]:
        """UNWATCH."""
        return Call("UNWATCH", rcp.UnwatchParams(subscription_id), rcp.UnwatchResult, True)
