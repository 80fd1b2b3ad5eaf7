"""What a store is asked to do: one method a command, decided and applied at once.

Each answer comes with the offset that must be released before it may be shown; 0 means that
it depends on nothing unreleased.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from msgspec import Raw

import rstmdb_core as core
from rstmdb_core import ApplyEventResult, Repeat
from rstmdb_core import apply_event as _decide_event

__all__ = ["Answer", "Commands"]

Answer = tuple[Any, int]
"""A result, and the offset that must be released before it may be shown."""


class Commands(ABC):
    """The commands of a Store, which lends them its state, its clock and `record`."""

    state: core.State
    clock: Callable[[], int]
    new_id: Callable[[], str]
    _engine: core.EngineOptions

    @abstractmethod
    def record(self, entry: core.Entry) -> int:
        """Append, then evolve: the one way in which state changes."""

    # -- writes ---------------------------------------------------------------------------

    def put_machine(
        self, machine: str, version: int, definition: object, checksum: str | None = None
    ) -> Answer:
        """Register a definition. Raises InvalidRequest, MachineVersionExists and others."""
        decided = core.put_machine(
            self.state, self._engine, self.clock(), machine, version, definition, checksum
        )
        if isinstance(decided, core.Repeat):
            return decided.result, decided.depends_on
        offset = self.record(decided)
        return core.PutMachineResult(machine, version, decided.definition_hash, True), offset

    def create_instance(
        self,
        machine: str,
        version: int,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Create an instance. Raises InstanceExists, MachineNotFound, Conflict and others."""
        decided = core.create_instance(
            self.state,
            self._engine,
            self.clock(),
            self.new_id,
            instance_id,
            machine,
            version,
            initial_ctx,
            idempotency_key,
        )
        if isinstance(decided, core.Repeat):
            return decided.result, decided.depends_on
        offset = self.record(decided)
        return (
            core.CreateInstanceResult(decided.instance_id, decided.initial_state, offset),
            offset,
        )

    def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: dict[str, Any] | None = None,
        expected_state: str | None = None,
        expected_wal_offset: int | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Apply an event. Raises InstanceNotFound, InvalidTransition, GuardFailed and others."""
        state = self.state
        decided = _decide_event(
            state,
            self._engine,
            self.clock(),
            instance_id,
            event,
            payload,
            expected_state,
            expected_wal_offset,
            event_id,
            idempotency_key,
        )
        if isinstance(decided, Repeat):
            return decided.result, decided.depends_on
        ctx = Raw(state.prepared)
        offset = self.record(decided)
        return (
            ApplyEventResult(
                decided.from_state,
                decided.to_state,
                ctx,
                offset,
                True,
                event_id,
            ),
            offset,
        )

    def delete_instance(self, instance_id: str, idempotency_key: str | None = None) -> Answer:
        """Delete an instance. Raises InstanceNotFound for one that never was, and Conflict."""
        decided = core.delete_instance(
            self.state, self._engine, self.clock(), instance_id, idempotency_key
        )
        if isinstance(decided, core.Repeat):
            return decided.result, decided.depends_on
        offset = self.record(decided)
        return core.DeleteInstanceResult(instance_id, True, offset), offset

    def flush_all(self) -> Answer:
        """Empty the database: machines, instances, keys and tombstones."""
        entry = core.flush_all(self.state, self._engine, self.clock())
        offset = self.record(entry)
        return core.result_of(self.state, entry, offset), offset

    # -- reads ----------------------------------------------------------------------------

    def get_machine(self, machine: str, version: int | None = None) -> Answer:
        """One machine version, the newest when none is named. Raises MachineNotFound."""
        found = self.state.get_machine(machine, version)
        return core.get_machine_result(found), found.offset

    def list_machines(self, limit: int | None = None, offset: int | None = None) -> Answer:
        """Machines and their versions, sorted by name."""
        items = self.state.list_machines(limit, offset or 0)
        return core.ListMachinesResult(items), self.state.last_machine_offset

    def get_instance(self, instance_id: str) -> Answer:
        """One instance. Raises InstanceNotFound."""
        instance = self.state.get_instance(instance_id)
        return core.get_instance_result(instance), instance.last_wal_offset

    def list_instances(
        self,
        machine: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
    ) -> Answer:
        """A page of instances, filtered by machine and state."""
        page = self.state.list_instances(machine, state, limit, offset or 0, after)
        return core.list_instances_result(page), self.state.list_depends_on(machine)
