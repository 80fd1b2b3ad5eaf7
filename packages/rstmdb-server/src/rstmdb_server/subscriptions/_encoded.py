"""An event's message, encoded once however many watch it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct

import rstmdb_core as core
from rstmdb_protocol import encode_json

__all__ = ["Encoded", "prefix_of"]


class _Event(Struct, frozen=True, gc=False):
    """The fields of an event after type and subscription_id."""

    instance_id: str
    machine: str
    version: int
    wal_offset: int
    from_state: str
    to_state: str
    event: str
    payload: Any
    ctx: Any = UNSET


def prefix_of(subscription_id: str) -> bytes:
    """The beginning of every event of a subscription."""
    return b'{"type":"event","subscription_id":' + encode_json(subscription_id) + b","


class Encoded:
    """What follows the prefix, with the context and without."""

    __slots__ = ("_entry", "_offset", "_plain", "_with_ctx")

    def __init__(self, offset: int, entry: core.ApplyEvent) -> None:
        self._offset = offset
        self._entry = entry
        self._plain = b""
        self._with_ctx = b""

    def payload(self, prefix: bytes, include_ctx: bool) -> bytes:
        """The message for one subscription, whose encoded beginning is `prefix`."""
        if include_ctx:
            if not self._with_ctx:
                self._with_ctx = self._encode(self._entry.ctx)
            return prefix + self._with_ctx
        if not self._plain:
            self._plain = self._encode(UNSET)
        return prefix + self._plain

    def _encode(self, ctx: Any) -> bytes:
        entry = self._entry
        event = _Event(
            entry.instance_id,
            entry.machine,
            entry.version,
            self._offset,
            entry.from_state,
            entry.to_state,
            entry.event,
            entry.payload,
            ctx,
        )
        return encode_json(event)[1:]
