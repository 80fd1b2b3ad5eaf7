"""How entries are written and read: golden bytes, the msgpack library as oracle, old logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped,unused-ignore]
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_core import (
    ENTRY_KINDS,
    ApplyEvent,
    Checkpoint,
    CreateInstance,
    DeleteInstance,
    Entry,
    FlushAll,
    InvalidRequest,
    Limits,
    MalformedEntry,
    PutMachine,
    SnapshotMark,
    decode_entry,
    encode_entry,
    entry_to_json,
)

GOLDEN = Path(__file__).parent / "golden"
DEFINITION = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [{"from": ["a"], "event": "go", "to": "b", "guard": "ctx.n > 1"}],
}
CTX: dict[str, Any] = {
    "n": 1,
    "s": "é",
    "f": 1.5,
    "l": [None, True, {}],
    "big": 2**64 - 1,
    "neg": -5,
}
ENTRIES: dict[str, Entry] = {
    "put_machine": PutMachine("m", 1, "ab" * 32, DEFINITION, 1_700_000_000_000),
    "create_instance": CreateInstance("i", "m", 1, "a", CTX, None, False, 1_700_000_000_001, 0),
    "create_instance_keyed": CreateInstance("i", "m", 1, "a", {}, "k", True, 1_700_000_000_001, 0),
    "apply_event": ApplyEvent(
        "i", "go", "a", "b", None, CTX, None, None, 1_700_000_000_002, "m", 1, 1 << 40
    ),
    "apply_event_keyed": ApplyEvent(
        "i", "go", "a", "b", {"n": 2}, {"n": 2}, "e", "k", 1_700_000_000_002, "m", 1, 1 << 40
    ),
    "delete_instance": DeleteInstance("i", "k", 1_700_000_000_003, "m", 1, (1 << 40) + 99),
    "snapshot": SnapshotMark("snap-1", "i", 1 << 40, 1_700_000_000_004),
    "checkpoint": Checkpoint(1_700_000_000_005, "snap-1", Limits(1, 2, 3)),
    "checkpoint_bare": Checkpoint(1_700_000_000_005),
    "flush_all": FlushAll(1_700_000_000_006),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_the_golden_bytes_and_reads_back(name: str) -> None:
    entry = ENTRIES[name]
    payload = encode_entry(entry)
    golden = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    assert payload == golden
    assert decode_entry(ENTRY_KINDS[type(entry)], golden) == entry


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_what_the_msgpack_library_packs(name: str) -> None:
    payload = encode_entry(ENTRIES[name])
    unpacked = msgpack.unpackb(payload)
    assert msgpack.packb(unpacked) == payload
    assert next(iter(unpacked)) == "type"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=20))
def test_any_context_packs_as_the_library_does_and_reads_back(ctx: dict[str, Any]) -> None:
    entry = ApplyEvent("i", "go", "a", "b", ctx, ctx, None, None, 5, "m", 1, 7)
    payload = encode_entry(entry)
    assert msgpack.packb(msgpack.unpackb(payload, strict_map_key=False)) == payload
    assert decode_entry(3, payload) == entry
    assert json.loads(entry_to_json(3, payload))["ctx"] == ctx


def test_an_entry_as_json_has_the_fields_of_the_protocol() -> None:
    entry = ENTRIES["apply_event"]
    assert json.loads(entry_to_json(3, encode_entry(entry))) == {
        "type": "apply_event",
        "instance_id": "i",
        "event": "go",
        "from_state": "a",
        "to_state": "b",
        "payload": None,
        "ctx": CTX,
        "timestamp": 1_700_000_000_002,
        "machine": "m",
        "version": 1,
        "prev_offset": 1 << 40,
    }


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**5000], ids=["above", "below", "huge"])
def test_an_integer_beyond_64_bits_is_refused_with_its_path(number: int) -> None:
    entry = ApplyEvent("i", "go", "a", "b", {"a": [{"b": number}]}, {}, None, None, 5, "m", 1, 7)
    with pytest.raises(InvalidRequest, match=r"payload.a\[0\].b is an integer of") as caught:
        encode_entry(entry)
    assert caught.value.details == {"path": "payload.a[0].b"}
    with pytest.raises(InvalidRequest, match=r"initial_ctx\.x is"):
        encode_entry(CreateInstance("i", "m", 1, "a", {"x": number}, None, False, 1, 0))


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cannot be stored"):
        encode_entry(ApplyEvent("i", "go", "a", "b", {"x": "\ud800"}, {}, None, None, 5, "m", 1))


def test_unknown_fields_are_ignored() -> None:
    payload = msgpack.packb({"type": "flush_all", "timestamp": 7, "colour": ["red"]})
    assert decode_entry(7, payload) == FlushAll(7)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (3, b""),
        (3, b"\xc1"),
        (3, msgpack.packb([1])),
        (3, msgpack.packb({"type": "flush_all"})),
        (3, msgpack.packb({"type": "apply_event"})),
        (3, encode_entry(ENTRIES["apply_event"])[:-1]),
        (3, encode_entry(ENTRIES["apply_event"]) + b"\x00"),
        (9, encode_entry(ENTRIES["apply_event"])),
        (3, b"\x91" * 5000 + b"\x90"),
    ],
)
def test_what_is_no_entry_is_malformed(kind: int, payload: bytes) -> None:
    with pytest.raises(MalformedEntry):
        decode_entry(kind, payload)


def legacy(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def test_the_entries_of_the_original_are_read() -> None:
    def read(kind: int, **fields: Any) -> Entry:
        return decode_entry(kind, legacy(**fields), legacy=True)

    put = read(1, type="put_machine", machine="m", version=1, definition_hash="00ab12cd")
    assert put == PutMachine("m", 1, "00ab12cd")
    create = read(
        2,
        type="create_instance",
        instance_id="i",
        machine="m",
        version=1,
        initial_state="a",
        initial_ctx={"n": 1},
        idempotency_key=None,
        surprise=[1],
    )
    assert create == CreateInstance("i", "m", 1, "a", {"n": 1})
    apply = read(
        3,
        type="apply_event",
        instance_id="i",
        event="go",
        from_state="a",
        to_state="b",
        payload=None,
        ctx={"n": 2},
        event_id="e",
    )
    assert apply == ApplyEvent("i", "go", "a", "b", None, {"n": 2}, "e")
    assert read(4, type="delete_instance", instance_id="i") == DeleteInstance("i")
    assert read(6, type="checkpoint", timestamp=12) == Checkpoint(12)
    assert read(7, type="flush_all") == FlushAll()


def test_a_lax_entry_of_the_original_is_mended() -> None:
    null_ctx = legacy(
        type="apply_event",
        instance_id="i",
        event="go",
        from_state="a",
        to_state="b",
        payload=[1],
        ctx=None,
    )
    assert decode_entry(3, null_ctx, legacy=True) == ApplyEvent("i", "go", "a", "b", None, {})
    create = legacy(
        type="create_instance", instance_id="i", machine="m", version=1, initial_state="a"
    )
    assert decode_entry(2, create, legacy=True) == CreateInstance("i", "m", 1, "a", {})
    mark = legacy(type="snapshot", instance_id=5, timestamp=9)
    assert decode_entry(5, mark, legacy=True) == SnapshotMark(timestamp=9)
    with pytest.raises(MalformedEntry):
        decode_entry(4, legacy(type="delete_instance"), legacy=True)
    with pytest.raises(MalformedEntry):
        decode_entry(4, b'{"type":', legacy=True)
    with pytest.raises(MalformedEntry):
        decode_entry(4, b"[]", legacy=True)


def test_an_entry_of_the_original_shows_as_it_was_written() -> None:
    payload = b'{"type": "delete_instance", "instance_id": "i", "own": 1}'
    shown = entry_to_json(4, payload, legacy=True)
    assert shown == b'{"type":"delete_instance","instance_id":"i","own":1}'
    for broken in (b"{", b"[]"):
        with pytest.raises(MalformedEntry):
            entry_to_json(4, broken, legacy=True)
    with pytest.raises(MalformedEntry):
        entry_to_json(200, b"", legacy=True)
