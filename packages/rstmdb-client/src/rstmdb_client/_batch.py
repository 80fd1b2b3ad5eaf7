"""A batch that reads like a transaction block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

import rstmdb_protocol as rcp

from ._calls import Call, Calls, Raw
from ._errors import BatchNotRun, ServerError, UnexpectedAnswer, server_error

__all__ = ["BatchBuilder", "BatchEntry"]

T = TypeVar("T")


class BatchEntry(Generic[T]):
    """One operation of a batch; its result is there when the block has ended."""

    def __init__(self, call: Call[T]) -> None:
        self._call = call
        self._outcome: T | ServerError | None = None

    @property
    def outcome(self) -> T | ServerError:
        """The typed result, or the ServerError of a refusal. Raises BatchNotRun."""
        if self._outcome is None:
            raise BatchNotRun("the batch runs when its block ends")
        return self._outcome

    @property
    def result(self) -> T:
        """The typed result. Raises BatchNotRun, and the ServerError of a refusal."""
        outcome = self.outcome
        if isinstance(outcome, ServerError):
            raise outcome
        return outcome

    def _take(self, item: rcp.BatchItem) -> None:
        try:
            if item.status == "error":
                self._outcome = server_error(msgspec.convert(item.error, rcp.ErrorBody))
            else:
                self._outcome = msgspec.convert(item.result, self._call.result)
        except msgspec.ValidationError as error:
            raise UnexpectedAnswer(
                f"BATCH: an answer to {self._call.op} that can't be read: {error}"
            ) from error


class BatchBuilder:
    """Collects operations, at most 100, and runs them as one when the block ends.

    `results` then holds one typed result each; without `atomic`, the ServerError of a refused
    operation stands in its place. Each method also returns its own entry, whose `result` is
    typed. A block left by an exception runs nothing.
    """

    def __init__(self, calls: Calls, *, atomic: bool) -> None:
        self._calls = calls
        self._entries: list[BatchEntry[Any]] = []
        self._ran = False
        self.mode = "atomic" if atomic else "best_effort"

    @property
    def results(self) -> list[Any]:
        """What each operation gave, in their order. Raises BatchNotRun inside the block."""
        if not self._ran:
            raise BatchNotRun("the batch runs when its block ends")
        return [entry.outcome for entry in self._entries]

    def _add(self, call: Call[T]) -> BatchEntry[T]:
        entry = BatchEntry(call)
        self._entries.append(entry)
        return entry

    def call(self, op: str, params: Mapping[str, Any] | None = None) -> BatchEntry[Raw]:
        """Add any operation that a batch may hold; the result as it is on the wire."""
        return self._add(self._calls.raw(op, params or {}))

    def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> BatchEntry[rcp.PutMachineResult]:
        """Add a PUT_MACHINE."""
        return self._add(self._calls.put_machine(machine, version, definition, checksum))

    def get_machine(
        self, machine: str, version: int | None = None
    ) -> BatchEntry[rcp.GetMachineResult]:
        """Add a GET_MACHINE: what it is at this point of the batch."""
        return self._add(self._calls.get_machine(machine, version))

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> BatchEntry[rcp.CreateInstanceResult]:
        """Add a CREATE_INSTANCE."""
        return self._add(
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
    ) -> BatchEntry[rcp.ApplyEventResult]:
        """Add an APPLY_EVENT."""
        return self._add(
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

    def delete_instance(
        self, instance_id: str, *, idempotency_key: str | None = None
    ) -> BatchEntry[rcp.DeleteInstanceResult]:
        """Add a DELETE_INSTANCE."""
        return self._add(self._calls.delete_instance(instance_id, idempotency_key))

    def get_instance(self, instance_id: str) -> BatchEntry[rcp.GetInstanceResult]:
        """Add a GET_INSTANCE: what it is at this point of the batch."""
        return self._add(self._calls.get_instance(instance_id))

    def request(self) -> Call[rcp.BatchResult] | None:
        """The request that runs the batch, or None for an empty one."""
        if not self._entries:
            self._ran = True
            return None
        return self._calls.batch([entry._call for entry in self._entries], self.mode)

    def take(self, answer: rcp.BatchResult) -> None:
        """Hand each entry its part of the answer. Raises UnexpectedAnswer."""
        if len(answer.results) != len(self._entries):
            raise UnexpectedAnswer(
                f"BATCH: {len(answer.results)} results for {len(self._entries)} operations"
            )
        for entry, item in zip(self._entries, answer.results, strict=True):
            entry._take(item)
        self._ran = True
