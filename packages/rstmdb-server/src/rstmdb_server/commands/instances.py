"""CREATE_INSTANCE, GET_INSTANCE, LIST_INSTANCES, DELETE_INSTANCE, APPLY_EVENT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rstmdb_protocol import (
    ApplyEventParams,
    CreateInstanceParams,
    DeleteInstanceParams,
    GetInstanceParams,
    ListInstancesParams,
)
from rstmdb_storage import Answer, Store

__all__ = ["plain"]


def plain(store: Store) -> dict[str, tuple[Callable[[Any], Answer], bool]]:
    """The commands of this subject, bound to a store."""
    store_apply = store.apply_event
    store_get = store.get_instance

    def create_instance(params: CreateInstanceParams) -> Answer:
        return store.create_instance(
            params.machine,
            params.version,
            params.instance_id,
            params.initial_ctx,
            params.idempotency_key,
        )

    def get_instance(params: GetInstanceParams) -> Answer:
        return store_get(params.instance_id)

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
