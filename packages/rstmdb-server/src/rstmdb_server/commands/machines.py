"""PUT_MACHINE, GET_MACHINE, LIST_MACHINES."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rstmdb_protocol import GetMachineParams, ListMachinesParams, PutMachineParams
from rstmdb_storage import Answer, Store

__all__ = ["plain"]


def plain(store: Store) -> dict[str, tuple[Callable[[Any], Answer], bool]]:
    """The commands of this subject, bound to a store."""

    def put_machine(params: PutMachineParams) -> Answer:
        return store.put_machine(params.machine, params.version, params.definition, params.checksum)

    def get_machine(params: GetMachineParams) -> Answer:
        return store.get_machine(params.machine, params.version)

    def list_machines(params: ListMachinesParams) -> Answer:
        return store.list_machines(params.limit, params.offset)

    return {
        "PUT_MACHINE": (put_machine, True),
        "GET_MACHINE": (get_machine, False),
        "LIST_MACHINES": (list_machines, False),
    }
