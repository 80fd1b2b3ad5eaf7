"""Value types that several messages share."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

__all__ = ["Count", "JsonObject", "MachineVersion", "Message", "Offset", "RequestId"]

RequestId = Annotated[str, Meta(max_length=256)]
MachineVersion = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
JsonObject = dict[str, Any]


class Message(Struct, frozen=True, omit_defaults=True):
    """Base of params and results: unknown fields are ignored, null counts as absent."""
