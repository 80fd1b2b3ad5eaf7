"""PUT_MACHINE, and the options that decide obeys."""

from __future__ import annotations

from typing import Final

import msgspec

from rstmdb_core._entries import PutMachine
from rstmdb_core._errors import InvalidRequest, MachineVersionExists, MachineVersionLimitExceeded
from rstmdb_core._machine import Blueprint
from rstmdb_core._results import PutMachineResult, Repeat
from rstmdb_core._state import State
from rstmdb_core._values import check_name, shown

MAX_VERSION: Final = 2**32 - 1


class EngineOptions(msgspec.Struct, frozen=True, gc=False):
    """What new requests must keep to; history is never measured by it.

    `max_ctx_bytes`: bytes of a context as JSON. `max_machine_versions`: 0 for any number.
    """

    max_ctx_bytes: int = 1_048_576
    max_machine_versions: int = 0


def prepare_machine(machine: str, version: int, definition: object) -> Blueprint:
    """Do all of put_machine that needs no state: most of its work, on any thread.

    `definition` is what JSON decodes to, or a Raw of JSON. Raises InvalidRequest for name,
    version or definition.
    """
    check_name(machine, "machine")
    check_version(version)
    return Blueprint(definition, strict=True)


def put_machine(
    state: State,
    options: EngineOptions,
    now_ms: int,
    machine: str,
    version: int,
    definition: object,
    checksum: str | None = None,
) -> PutMachine | Repeat:
    """Register a version of a machine; the same definition again is a Repeat.

    `definition` is what `prepare_machine` takes, or what it made of that.

    Raises InvalidRequest (name, version, definition, or a checksum that is not the definition's),
    MachineVersionExists, MachineVersionLimitExceeded.
    """
    if isinstance(definition, Blueprint):
        blueprint = definition
    else:
        blueprint = prepare_machine(machine, version, definition)
    computed = blueprint.checksum
    if checksum is not None and checksum.lower() != computed:
        raise InvalidRequest(
            f"checksum is {shown(checksum)}, but the definition's is {computed}",
            {"expected_checksum": checksum, "actual_checksum": computed},
        )
    group = state.groups.get(machine)
    versions = group.versions if group is not None else {}
    known = versions.get(version)
    if known is not None:
        if known.checksum == computed:
            return Repeat(PutMachineResult(machine, version, computed, False), known.offset)
        raise MachineVersionExists(
            f"machine {shown(machine)} version {version} has another definition;"
            f" register this one as a new version",
            {
                "machine": machine,
                "version": version,
                "stored_checksum": known.checksum,
                "checksum": computed,
            },
            known.offset,
        )
    if 0 < options.max_machine_versions <= len(versions):
        raise MachineVersionLimitExceeded(
            f"machine {shown(machine)} has {len(versions)} versions;"
            f" at most {options.max_machine_versions} are allowed",
            {"machine": machine, "limit": options.max_machine_versions},
            max((known.offset for known in versions.values()), default=0),
        )
    timestamp = max(now_ms, state.last_timestamp)
    entry = PutMachine(machine, version, computed, blueprint.normal, timestamp)
    state.prepared_for, state.prepared = entry, blueprint
    return entry


def check_version(version: object) -> None:
    """Raise InvalidRequest unless the value is a machine version, 1 to 2^32 - 1."""
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= MAX_VERSION:
        raise InvalidRequest(
            f"version must be an integer from 1 to {MAX_VERSION}, not {shown(version)}",
            {"parameter": "version"},
        )
