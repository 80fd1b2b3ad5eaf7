"""At a limit it works, over it is refused; and asking for everything stalls nobody."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from bystander import RING
from wire import Refused, Wire, frame

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

SCALE = int(os.environ.get("RSTMDB_TEST_SCALE", "1"))
MIB = 1 << 20
STALL_MS = 50


def definition(states: int, transitions: int, guard: str | None = None) -> dict[str, Any]:
    """States s0.., and for each of them an event to the next, with a guard or without."""
    more = {} if guard is None else {"guard": guard}
    return {
        "states": [f"s{n}" for n in range(states)],
        "initial": "s0",
        "transitions": [
            {"from": f"s{n % states}", "event": f"e{n // states}", "to": "s0"} | more
            for n in range(transitions)
        ],
    }


def guard_of(characters: int) -> str:
    return "ctx.a" + "a" * (characters - 5)


AT_LIMITS = {
    "10,000 states": definition(10_000, 0),
    "12,000 transitions": definition(100, 12_000),
    "a guard of 4,096 characters": definition(1, 1, guard_of(4096)),
    "a guard of 64 negations": definition(1, 1, "!" * 64 + "ctx.a"),
    "200 guards of 4,096 characters": definition(200, 200, guard_of(4096)),
    "names of 256 bytes": {**RING, "states": ["x", "y" * 256]},
}
OVER_LIMITS = {
    "10,001 states": definition(10_001, 0),
    "100,001 transitions": definition(100, 100_001),
    "a guard of 4,097 characters": definition(1, 1, guard_of(4097)),
    "a guard of 66 negations": definition(1, 1, "!" * 66 + "ctx.a"),
    "a guard of 66 parentheses": definition(1, 1, "(" * 66 + "ctx.a" + ")" * 66),
    "300 guards of 4,096 characters": definition(300, 300, guard_of(4096)),
    "a name of 257 bytes": {**RING, "states": ["x", "y" * 257]},
    "a meta of a megabyte": {**RING, "meta": {"m": "x" * MIB}},
}


def test_machines_at_their_limits_are_taken(siege: Siege) -> None:
    """Reading a definition of a megabyte takes a while, in which nobody else waits."""
    with siege.connect() as wire:

        def attack() -> None:
            for name, one in AT_LIMITS.items():
                wire.call("PUT_MACHINE", machine=name, version=1, definition=one)
                again = wire.call("PUT_MACHINE", machine=name, version=1, definition=one)
                assert again["created"] is False

        siege.withstands("machines and guards at their limits", attack)


def test_machines_over_their_limits_are_refused(siege: Siege) -> None:
    with siege.connect() as wire:

        def attack() -> None:
            for name, one in OVER_LIMITS.items():
                answer = wire.request("PUT_MACHINE", machine="over", version=1, definition=one)
                assert answer["error"]["code"] == "BAD_REQUEST", name
                assert len(answer["error"]["message"]) < 1000, name

        siege.withstands("machines and guards over their limits", attack)
        assert wire.request("GET_MACHINE", machine="over")["error"]["code"] == "MACHINE_NOT_FOUND"


def test_definitions_that_take_long_to_read_stall_nobody(siege: Siege) -> None:
    """As many comparisons, and as many values, as a megabyte has room for."""
    clauses = "||".join(["ctx.a==1"] * 380)
    guarded = [{"from": "x", "event": f"e{n}", "to": "x", "guard": f"ctx.b=={n}||{clauses}"}
               for n in range(200)]  # fmt: skip
    dense = {
        "guards": {**RING, "transitions": guarded},
        "meta": {**RING, "meta": {"m": [[]] * 250_000}},
    }
    with siege.connect() as wire:

        def attack() -> None:
            for name, one in dense.items():
                wire.call("PUT_MACHINE", machine=f"dense {name}", version=1, definition=one)

        siege.withstands("definitions that take long to read", attack, growth_bytes=256 * MIB)


def test_guards_that_are_as_slow_as_they_may_be_stall_nobody(siege: Siege) -> None:
    """All of 4,096 characters are read on each event, and the guard does not hold in the end."""
    clause = "!(ctx.a.b.c.d==1)&&"
    guard = clause * ((4096 - 10) // len(clause)) + "ctx.never"
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="slow", version=1,
                  definition=definition(1, 1, guard))  # fmt: skip
        wire.call("CREATE_INSTANCE", machine="slow", version=1, instance_id="slow",
                  initial_ctx={"a": {"b": {"c": {"d": 2}}}})  # fmt: skip
        ask = frame(b'{"id":"1","op":"APPLY_EVENT","params":{"instance_id":"slow","event":"e0"}}')

        def attack() -> None:
            wire.socket.sendall(ask * 100)
            for _ in range(100):
                assert wire.receive()["error"]["code"] == "GUARD_FAILED"

        siege.withstands("guards as slow as they may be", attack)


def test_contexts_at_and_over_their_limit(siege: Siege) -> None:
    with siege.connect() as wire:

        def attack() -> None:
            for size in (MIB - 100, MIB + 1):
                answer = wire.request("CREATE_INSTANCE", machine="ring", version=1,
                                      initial_ctx={"t": "x" * size})  # fmt: skip
                assert answer["status"] == ("ok" if size < MIB else "error")
                if answer["status"] == "ok":
                    wire.call("DELETE_INSTANCE", instance_id=answer["result"]["instance_id"])

        siege.withstands("contexts at and over a megabyte", attack)


def test_batches_over_the_limit_are_refused_before_they_run(siege: Siege) -> None:
    op = {"op": "APPLY_EVENT", "params": {"instance_id": "r", "event": "T"}}

    def attack() -> None:
        with siege.connect() as wire:
            for ops in ([op] * 101, [op] * 20_000, [op, {"op": "BATCH", "params": {"ops": [op]}}]):
                with pytest.raises(Refused) as refused:
                    wire.call("BATCH", ops=ops)
                assert refused.value.code == "BAD_REQUEST"

    siege.withstands("batches over the limit", attack)


def fill(siege: Siege, instances: int) -> None:
    """Create instances, 100 a batch, each with a small context."""
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        for start in range(0, instances, 100):
            ops = [{"op": "CREATE_INSTANCE",
                    "params": {"machine": "ring", "version": 1, "instance_id": f"i-{n}",
                               "initial_ctx": {"n": n, "name": "somebody"}}}
                   for n in range(start, start + 100)]  # fmt: skip
            wire.call("BATCH", ops=ops)


def everything(besiege: Besiege, instances: int, seconds: float) -> None:
    """Lists and log reads of all there is, again and again, and nobody waits over 50 ms once."""
    siege = besiege(RSTMDB_COMPACT_ENABLED="false")
    fill(siege, instances)
    lists = [{"op": "LIST_INSTANCES", "params": {"limit": 10_000}}] * 100

    def batch_lists() -> None:
        with siege.connect() as wire:
            wire.request("BATCH", ops=lists)

    def list_all() -> None:
        with siege.connect() as wire:
            params: dict[str, Any] = {"limit": 10_000}
            seen = 0
            while True:
                page = wire.call("LIST_INSTANCES", **params)
                seen += len(page["instances"])
                if not page["has_more"]:
                    break
                params["after"] = page["instances"][-1]["id"]
            assert seen >= instances

    def skip_all() -> None:
        with siege.connect() as wire:
            for params in ({"offset": instances - 1}, {"offset": 2**62},
                           {"machine": "ring", "state": "x", "offset": instances // 2},
                           {"limit": 2**62}):  # fmt: skip
                wire.call("LIST_INSTANCES", **params)

    def read_log() -> None:
        with siege.connect() as wire:
            offset, seen = 0, 0
            while True:
                page = wire.call("WAL_READ", from_offset=offset, limit=1000)
                if not page["records"]:
                    break
                seen += len(page["records"])
                offset = page["next_offset"]
            assert seen >= instances

    size = f"{instances:,} instances"
    for name, attack, growth_bytes in (
        (f"LIST of {size}", list_all, 64 * MIB),
        (f"LIST, far offsets among {size}", skip_all, 64 * MIB),
        (f"BATCH of 100 lists of {size}", batch_lists, 128 * MIB),
        (f"WAL_READ of {size}", read_log, 64 * MIB),
    ):
        row = siege.withstands(name, attack, seconds=seconds, growth_bytes=growth_bytes)
        assert row.is_calm(STALL_MS), row


def test_asking_for_everything_stalls_nobody(besiege: Besiege) -> None:
    everything(besiege, 5_000, 0.5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_asking_for_everything_there_is_in_a_large_database(besiege: Besiege) -> None:
    everything(besiege, 30_000 * SCALE, 5.0)


def keys(besiege: Besiege, count: int, kept: int, growth_bytes: int) -> None:
    """More idempotency keys than are kept: memory stays, the newest are known, the oldest gone."""
    siege = besiege(RSTMDB_IDEMPOTENCY_MAX_KEYS=str(kept))
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")

    def attack() -> None:
        with siege.connect() as wire:
            for start in range(0, count, 250):
                requests = (keyed(n) for n in range(start, min(start + 250, count)))
                wire.socket.sendall(b"".join(requests))
                for _ in range(min(250, count - start)):
                    assert wire.receive()["result"]["applied"] is True

    siege.withstands(f"{count:,} idempotency keys, {kept:,} kept", attack, seconds=0,
                     growth_bytes=growth_bytes)  # fmt: skip
    with siege.connect() as wire:
        for number, applied in ((count - 1, False), (count - kept // 2, False), (0, True)):
            wire.socket.sendall(keyed(number))
            assert wire.receive()["result"]["applied"] is applied


def keyed(number: int) -> bytes:
    return frame(
        b'{"id":"1","op":"APPLY_EVENT","params":{"instance_id":"r","event":"T",'
        b'"idempotency_key":"key-%d"}}' % number
    )


def test_idempotency_keys_over_the_limit_push_out_the_oldest(besiege: Besiege) -> None:
    keys(besiege, 6_000, 2_000, 32 * MIB)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_idempotency_keys(besiege: Besiege) -> None:
    keys(besiege, 100_000 * SCALE + 1000, 100_000 * SCALE, 1024 * MIB)


def test_keys_are_bounded_in_bytes_too(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_IDEMPOTENCY_MAX_BYTES=str(MIB))
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")

        def attack() -> None:
            for number in range(50):
                wire.call("APPLY_EVENT", instance_id="r", event="T",
                          payload={"t": "x" * 200_000}, idempotency_key=f"{number}")  # fmt: skip

        siege.withstands("large answers under idempotency keys", attack, seconds=0)


def test_log_reads_of_large_entries_end_at_a_page_and_stall_nobody(besiege: Besiege) -> None:
    siege = besiege(RSTMDB_COMPRESS_FROM="0", RSTMDB_COMPACT_ENABLED="false")
    with siege.connect() as wire:
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        for _ in range(40):
            wire.call("CREATE_INSTANCE", machine="ring", version=1,
                      initial_ctx={"t": "x" * 900_000})  # fmt: skip

    def attack() -> None:
        with Wire(siege.server.host, siege.server.port) as wire:
            page = wire.call("WAL_READ", from_offset=0, limit=1000)
            assert 1 < len(page["records"]) < 20

    siege.withstands("WAL_READ of 36 MB in large entries", attack, growth_bytes=256 * MIB)
