"""A batch that reads like a transaction block."""

from __future__ import annotations

from typing import Any

import msgspec

import rstmdb_protocol as rcp

from ._calls import Call, Calls
from ._errors import BatchNotRun, ServerError, server_error

__all__ = ["BatchBuilder"]


class BatchBuilder:
    """Collects operations; `results` holds one typed result each once the block has ended.

    Without `atomic`, the ServerError of a refused operation stands in its place.
    """

    def __init__(self, calls: Calls, *, atomic: bool) -> None:
        self._calls = calls
        self._ops: list[Call[Any]] = []
        self._results: list[Any] | None = None
        self.mode = "atomic" if atomic else "best_effort"

    @property
    def results(self) -> list[Any]:
        """What each operation gave. Raises BatchNotRun inside the block."""
        if self._results is None:
            raise BatchNotRun("the batch runs when its block ends")
        return self._results

    def put_machine(
        self, machine: str, version: int, definition: Any, checksum: str | None = None
    ) -> None:
        """Add a PUT_MACHINE."""
        self._ops.append(self._calls.put_machine(machine, version, definition, checksum))

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Add a CREATE_INSTANCE."""
        self._ops.append(
            self._calls.create_instance(machine, version, instance_id, initial_ctx, idempotency_key)
        )

    def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: dict[str, Any] | None = None,
        *,
        expected_state: str | None = None,
        expected_wal_offset: int | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Add an APPLY_EVENT."""
        self._ops.append(
            self._calls.apply_event(
                instance_id,
                event,
                payload,
                expected_state,
                expected_wal_offset,
                event_id,
                idempotency_key,
            )
        )

    def delete_instance(self, instance_id: str, *, idempotency_key: str | None = None) -> None:
        """Add a DELETE_INSTANCE."""
        self._ops.append(self._calls.delete_instance(instance_id, idempotency_key))

    def get_instance(self, instance_id: str) -> None:
        """Add a GET_INSTANCE: what it is at this point of the batch."""
        self._ops.append(self._calls.get_instance(instance_id))

    def call(self) -> Call[rcp.BatchResult] | None:
        """The request that runs the batch, or None for an empty one."""
        if not self._ops:
            self._results = []
            return None
        return self._calls.batch(self._ops, self.mode)

    def take(self, result: rcp.BatchResult) -> None:
        """Take in the answer."""
        self._results = [
            self._one(op, item) for op, item in zip(self._ops, result.results, strict=True)
        ]

    @staticmethod
    def _one(op: Call[Any], item: rcp.BatchItem) -> Any | ServerError:
        if item.status == "error":
            return server_error(msgspec.convert(item.error, rcp.ErrorBody))
        return msgspec.convert(item.result, op.result)
