"""PUT_MACHINE, GET_MACHINE, LIST_MACHINES."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstmdb_core import Blueprint, prepare_machine
from rstmdb_protocol import GetMachineParams, ListMachinesParams, Request
from rstmdb_storage import Answer, Store

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session

__all__ = ["plain", "prepare", "special", "takes_long"]

LONG_BYTES = 4 * 1024
"""A definition above this is read on a thread: so much of guards takes two milliseconds."""


def plain(store: Store) -> dict[str, tuple[Callable[[Any], Answer], bool]]:
    """The commands of this subject, bound to a store."""

    def put_machine(params: Any) -> Answer:
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


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that may take a while."""
    return {"PUT_MACHINE": _put_machine}


def takes_long(*puts: Any) -> bool:
    """Whether the definitions of these PUT_MACHINEs, as params, are to be read on a thread."""
    return sum(len(memoryview(params.definition)) for params in puts) > LONG_BYTES


async def prepare(hub: Hub, params: Any) -> Blueprint:
    """Read a PUT_MACHINE's definition on a thread: `store.put_machine` takes it in its place.

    Raises what the definition is refused with.
    """
    async with hub.compilers:
        blueprint: Blueprint = await hub.run_blocking(
            prepare_machine, params.machine, params.version, params.definition
        )
    return blueprint


def _put_machine(session: Session, request: Request) -> None:
    hub = session.hub
    params = request.params

    def put(definition: object) -> Answer:
        return hub.store.put_machine(params.machine, params.version, definition, params.checksum)

    if not takes_long(params):
        result, offset = put(params.definition)
        session.answer(request, result, offset, wrote=True)
        return

    async def work() -> Answer:
        blueprint = await prepare(hub, params)
        answer = put(blueprint)
        hub.commit_soon()
        return answer

    hub.answer_later(session, request, work, wrote=True, alone=True)
