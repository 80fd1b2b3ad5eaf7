"""CREATE_INSTANCE, GET_INSTANCE, LIST_INSTANCES, DELETE_INSTANCE, APPLY_EVENT."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
from msgspec import Raw

import rstmdb_core as core
from rstmdb_protocol import (
    ApplyEventParams,
    CreateInstanceParams,
    DeleteInstanceParams,
    GetInstanceParams,
    ListInstancesParams,
    Request,
    encode_json,
)
from rstmdb_storage import Answer, Store, WriteFailed

if TYPE_CHECKING:
    from rstmdb_server.session import Session

__all__ = ["plain", "special"]

SLICE_INSTANCES = 500
"""As many of a list are encoded before others have their turn: half a millisecond's worth."""


def plain(store: Store) -> dict[str, tuple[Callable[[Any], Answer], bool]]:
    """The commands of this subject, bound to a store."""
    store_apply = store.apply_event
    find = store.state.get_instance
    shown = core.get_instance_result

    def create_instance(params: CreateInstanceParams) -> Answer:
        return store.create_instance(
            params.machine,
            params.version,
            params.instance_id,
            params.initial_ctx,
            params.idempotency_key,
        )

    def get_instance(params: GetInstanceParams) -> Answer:
        instance = find(params.instance_id)
        return shown(instance), instance.last_wal_offset

    def list_instances(params: ListInstancesParams) -> Answer:
        return store.list_instances(
            params.machine, params.state, params.limit, params.offset, params.after
        )

    def delete_instance(params: DeleteInstanceParams) -> Answer:
        return store.delete_instance(params.instance_id, params.idempotency_key)

    def apply_event(params: ApplyEventParams) -> Answer:
        return store_apply(
            params.instance_id,
            params.event,
            params.payload,
            params.expected_state,
            params.expected_wal_offset,
            params.event_id,
            params.idempotency_key,
        )

    return {
        "CREATE_INSTANCE": (create_instance, True),
        "GET_INSTANCE": (get_instance, False),
        "LIST_INSTANCES": (list_instances, False),
        "DELETE_INSTANCE": (delete_instance, True),
        "APPLY_EVENT": (apply_event, True),
    }


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that take a while: their answers keep their place and come later."""
    return {"LIST_INSTANCES": _list_instances}


def _list_instances(session: Session, request: Request) -> None:
    """Look a page up at once, and encode it in slices where it is long.

    Instances are never changed, only replaced: the page shows one moment however long it takes.
    """
    hub = session.hub
    store = hub.store
    params: ListInstancesParams = request.params
    asked = (params.machine, params.state, params.limit, params.offset or 0, params.after)
    if (params.limit or 0) <= SLICE_INSTANCES:
        page = core.list_instances_result(store.state.list_instances(*asked))
        session.answer(request, page, store.state.list_depends_on(params.machine))
        return

    async def work() -> tuple[Any, int]:
        async with hub.lists:
            if session.is_gone():
                return None, 0
            epoch = store.epoch
            instances, total, has_more = store.state.list_instances(*asked)
            offset = store.state.list_depends_on(params.machine)
            encoded = await _encode_in_slices(instances)
        if store.epoch != epoch and offset > store.floors[epoch]:
            raise WriteFailed("the list rests on what could not be written", final=False)
        return core.ListInstancesResult(encoded, total, has_more), offset

    hub.answer_later(session, request, work, alone=True)


async def _encode_in_slices(instances: list[core.Instance]) -> Any:
    """The items as msgspec.Raw, which goes into a result in the place of the list."""
    slices = []
    for start in range(0, len(instances), SLICE_INSTANCES):
        await anyio.lowlevel.checkpoint()
        part = instances[start : start + SLICE_INSTANCES]
        items = core.list_instances_result((part, 0, False)).instances
        slices.append(encode_json(items)[1:-1])
    await anyio.lowlevel.checkpoint()
    return Raw(b"[" + b",".join(slices) + b"]")
