"""Machine operations: PUT_MACHINE, GET_MACHINE, LIST_MACHINES."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from ._types import Count, JsonObject, MachineVersion, Message

__all__ = [
    "GetMachineParams",
    "GetMachineResult",
    "ListMachinesParams",
    "ListMachinesResult",
    "MachineVersions",
    "PutMachineParams",
    "PutMachineResult",
    "ReceivedPutMachineParams",
]


class PutMachineParams(Message, frozen=True):
    """A definition for a name and version; `checksum` is its SHA-256 in hex, when given."""

    machine: str
    version: MachineVersion
    definition: Any
    checksum: str | None = None


class ReceivedPutMachineParams(Message, frozen=True):
    """PutMachineParams as a server reads them: the definition is text until someone reads it."""

    machine: str
    version: MachineVersion
    definition: Raw
    checksum: str | None = None


class PutMachineResult(Message, frozen=True):
    """`created` is false when the very same definition was stored already."""

    machine: str
    version: int
    stored_checksum: str
    created: bool


class GetMachineParams(Message, frozen=True):
    """A machine by name; the newest version when none is named."""

    machine: str
    version: MachineVersion | None = None


class GetMachineResult(Message, frozen=True):
    """A definition in normal form and its checksum."""

    machine: str
    version: int
    definition: JsonObject
    checksum: str


class ListMachinesParams(Message, frozen=True):
    """A page of machines, sorted by name."""

    limit: Count | None = None
    offset: Count | None = None


class MachineVersions(Message, frozen=True):
    """The versions of one machine, rising."""

    machine: str
    versions: list[int]


class ListMachinesResult(Message, frozen=True):
    """Machines, sorted by name."""

    items: list[MachineVersions]
