"""Log entries and their encoding.

An entry is a MessagePack map with a `type`, its fields in the order below; optional ones that are
absent are left out. What the original wrote is the same map as JSON with fewer fields (see
_legacy). Kinds are the record types of the log (spec: storage, Records).

`timestamp` is in Unix milliseconds; `prev_offset` is the offset of the instance's previous
entry, 0 when there is none. -1 (and "" or 0 for machine and version) stand for what an old entry
does not say and are never written.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from ._errors import InvalidRequest, MalformedEntry
from ._values import find_unstorable, shown


class _Entry(msgspec.Struct, frozen=True, gc=False, tag_field="type", omit_defaults=True):
    pass


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What bounds remembered idempotency keys and tombstones; in force once a Checkpoint says so.

    Retention in milliseconds, the number of keys (and of tombstones), and bytes of results.
    """

    idempotency_retention_ms: int = 86_400_000
    idempotency_max_keys: int = 1_000_000
    idempotency_max_bytes: int = 268_435_456


class PutMachine(_Entry, frozen=True, gc=False, tag="put_machine"):
    """A machine version is registered; `definition` is the normal form, None in some old logs."""

    machine: str
    version: int
    definition_hash: str
    definition: dict[str, Any] | None = None
    timestamp: int = -1


class CreateInstance(_Entry, frozen=True, gc=False, tag="create_instance"):
    """An instance comes to be.

    `id_generated` tells that the request named no id: the scope of its key is the machine.
    """

    instance_id: str
    machine: str
    version: int
    initial_state: str
    initial_ctx: dict[Any, Any]
    idempotency_key: str | None = None
    id_generated: bool = False
    timestamp: int = -1
    prev_offset: int = -1


class ApplyEvent(_Entry, frozen=True, gc=False, tag="apply_event"):
    """An event moved an instance; `ctx` is the whole context after the merge.

    Keys are strings; those of an embedded caller's Python dict may not have been, and what was
    acknowledged must read back.
    """

    instance_id: str
    event: str
    from_state: str
    to_state: str
    payload: dict[Any, Any] | None
    ctx: dict[Any, Any]
    event_id: str | None = None
    idempotency_key: str | None = None
    timestamp: int = -1
    machine: str = ""
    version: int = 0
    prev_offset: int = -1


class DeleteInstance(_Entry, frozen=True, gc=False, tag="delete_instance"):
    """An instance is deleted and leaves a tombstone."""

    instance_id: str
    idempotency_key: str | None = None
    timestamp: int = -1
    machine: str = ""
    version: int = 0
    prev_offset: int = -1


class SnapshotMark(_Entry, frozen=True, gc=False, tag="snapshot"):
    """A snapshot of one instance was written; changes nothing."""

    snapshot_id: str | None = None
    instance_id: str | None = None
    wal_offset: int | None = None
    timestamp: int = -1


class Checkpoint(_Entry, frozen=True, gc=False, tag="checkpoint"):
    """All before it is synced; may name a snapshot and may put limits in force."""

    timestamp: int = -1
    snapshot_id: str | None = None
    limits: Limits | None = None


class FlushAll(_Entry, frozen=True, gc=False, tag="flush_all"):
    """The database is emptied."""

    timestamp: int = -1


Entry: TypeAlias = (
    PutMachine | CreateInstance | ApplyEvent | DeleteInstance | SnapshotMark | Checkpoint | FlushAll
)

ENTRY_KINDS: Final[dict[type[Entry], int]] = {
    PutMachine: 1,
    CreateInstance: 2,
    ApplyEvent: 3,
    DeleteInstance: 4,
    SnapshotMark: 5,
    Checkpoint: 6,
    FlushAll: 7,
}
"""The record type of each entry in the log."""

encode_sound_entry = msgspec.msgpack.Encoder().encode
"""`encode_entry` without its explanations: raises what UNSTORABLE lists."""
UNSTORABLE: Final = (OverflowError, UnicodeEncodeError, TypeError, RecursionError)
"""What comes of encoding what cannot be stored."""
ENTRY_DECODERS: Final[dict[int, msgspec.msgpack.Decoder[Entry]]] = {
    kind: msgspec.msgpack.Decoder(cls) for cls, kind in ENTRY_KINDS.items()
}
_legacy_decoders: Final[dict[int, msgspec.json.Decoder[Entry]]] = {
    kind: msgspec.json.Decoder(cls, strict=False) for cls, kind in ENTRY_KINDS.items()
}
UNREADABLE: Final = (
    KeyError,
    MalformedEntry,
    msgspec.MsgspecError,
    UnicodeDecodeError,
    RecursionError,
    TypeError,
)
"""What comes of decoding what is no entry."""
_untyped_msgpack = msgspec.msgpack.Decoder().decode
_untyped_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


def encode_entry(entry: Entry) -> bytes:
    """Return the entry as MessagePack.

    Raises InvalidRequest when a value that came with the command cannot be stored: an integer
    beyond 64 bits or a string with a lone surrogate.
    """
    try:
        return encode_sound_entry(entry)
    except UNSTORABLE as error:
        raise _unstorable(entry, error) from error


def decode_entry(kind: int, payload: bytes | memoryview, legacy: bool = False) -> Entry:
    """Return the entry of a log record.

    `legacy` says that the original wrote it (JSON, and fields may be missing). Fields that this
    version does not know are ignored. Raises MalformedEntry.
    """
    try:
        if legacy:
            return _decode_legacy(kind, payload)
        return ENTRY_DECODERS[kind].decode(payload)
    except KeyError:
        raise MalformedEntry(f"no entry is of kind {kind}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise MalformedEntry(f"not an entry of kind {kind}: {error}") from error


def entry_to_json(kind: int, payload: bytes | memoryview, legacy: bool = False) -> bytes:
    """Return a log record's payload as a JSON object, for WAL_READ; raise MalformedEntry."""
    if kind not in ENTRY_DECODERS:
        raise MalformedEntry(f"no entry is of kind {kind}")
    try:
        value = _untyped_json(payload) if legacy else _untyped_msgpack(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEntry(f"not an entry of kind {kind}: {error}") from error
    if not isinstance(value, dict):
        raise MalformedEntry(f"not an entry of kind {kind}: no object")
    return _encode_json(value)


def _decode_legacy(kind: int, payload: bytes | memoryview) -> Entry:
    decoder = _legacy_decoders[kind]
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError:
        # The original is laxer than we are: a context may be null, a field missing or of
        # another type. What remains unreadable after mending is malformed.
        value = _untyped_json(payload)
        if not isinstance(value, dict):
            raise
        return msgspec.convert(_mended(kind, value), decoder.type, strict=False)


def _mended(kind: int, value: dict[str, Any]) -> dict[str, Any]:
    mended = {key: item for key, item in value.items() if item is not None}
    if kind == ENTRY_KINDS[CreateInstance]:
        mended["initial_ctx"] = _object_or_empty(mended.get("initial_ctx"))
    elif kind == ENTRY_KINDS[ApplyEvent]:
        mended["ctx"] = _object_or_empty(mended.get("ctx"))
        payload = mended.get("payload")
        mended["payload"] = payload if isinstance(payload, dict) else None
    elif kind == ENTRY_KINDS[PutMachine]:
        mended.setdefault("definition_hash", "")
        if not isinstance(mended.get("definition"), dict):
            mended.pop("definition", None)
    elif kind == ENTRY_KINDS[SnapshotMark] or kind == ENTRY_KINDS[Checkpoint]:
        # Nothing of it shapes the state but the time, if it is one.
        timestamp = mended.get("timestamp")
        mended = {"type": mended.get("type")}
        if isinstance(timestamp, int) and not isinstance(timestamp, bool):
            mended["timestamp"] = timestamp
    return mended


def _object_or_empty(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unstorable(entry: Entry, error: Exception) -> InvalidRequest:
    for place in ("payload", "initial_ctx", "ctx", "definition"):
        fault = find_unstorable(getattr(entry, place, None))
        if fault is not None:
            path = f"{place}.{fault[0]}" if fault[0] else place
            return InvalidRequest(
                f"{path} is {shown(fault[1])}; integers must lie between -2^63 and 2^64 - 1",
                {"path": path},
            )
    return InvalidRequest(f"the request holds a value that cannot be stored: {error}")
