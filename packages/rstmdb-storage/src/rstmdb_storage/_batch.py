"""A batch that reads like a transaction block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from ._commands import Answer
from ._store import Store

__all__ = ["Batch"]

Run = Callable[[Sequence[Callable[[], Answer]], bool], list[Any]]


class Batch:
    """Commands that are collected in a `with` block and run when it ends.

    `results` then holds one result a command; without `atomic`, a refused command has its
    Rejection there instead. With `atomic`, the first refusal raises BatchAborted and nothing
    is changed. A block left by an exception runs nothing.
    """

    def __init__(self, run: Run, store: Store, *, atomic: bool) -> None:
        self._run = run
        self._store = store
        self._atomic = atomic
        self._commands: list[Callable[[], Answer]] = []
        self.results: list[Any] = []

    def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> None:
        """See Database.put_machine."""
        self._commands.append(
            partial(self._store.put_machine, machine, version, definition, checksum)
        )

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """See Database.create_instance."""
        self._commands.append(
            partial(
                self._store.create_instance,
                machine,
                version,
                instance_id,
                initial_ctx,
                idempotency_key,
            )
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
        """See Database.apply_event."""
        self._commands.append(
            partial(
                self._store.apply_event,
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
        """See Database.delete_instance."""
        self._commands.append(partial(self._store.delete_instance, instance_id, idempotency_key))

    def __enter__(self) -> Batch:
        """The batch itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Run what was collected, unless the block failed."""
        if exc_type is None and self._commands:
            self.results = self._run(self._commands, self._atomic)
