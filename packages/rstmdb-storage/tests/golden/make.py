"""Makes a golden directory: `python make.py v2`, once for each format; never again over one.

What this writes must open in every later release with the contents in `<name>.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rstmdb_storage import CompactionOptions, Database, LogOptions, StorageOptions
from rstmdb_storage.testing import Clock

MACHINE = {
    "states": ["created", "paid", "shipped"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},
        {"from": ["paid"], "event": "SHIP", "to": "shipped"},
        {"from": ["created", "paid"], "event": "NOTE", "to": "created"},
    ],
    "meta": {"owner": "tests"},
}


def contents(db: Database) -> dict[str, Any]:
    """What is compared: all that can be asked, and the digest of the state."""
    ids = [item.id for item in db.list_instances().instances]
    found = [db.get_instance(name) for name in ids]
    return {
        "machines": {item.machine: item.versions for item in db.list_machines().items},
        "checksum": db.get_machine("order", 1).checksum,
        "instances": [
            [i.instance_id, i.machine, i.version, i.state, i.ctx, i.last_event_id,
             i.last_wal_offset, i.created_at, i.updated_at]
            for i in found
        ],
        "entries": [
            [record.sequence, record.offset, json.loads(bytes(record.entry))]
            for record in db.wal_read(limit=1000).records
        ],
        "tombstones": sorted(db._store.state.tombstones.by_key),
        "keys": sorted(db._store.state.keys.by_key),
        "digest": db._store.state.digest(),
    }  # fmt: skip


def fill(db: Database, clock: Clock) -> None:
    """A bit of everything: before a snapshot, in it and behind it."""
    db.put_machine("order", 1, MACHINE)
    db.put_machine("order", 2, {**MACHINE, "meta": {"owner": "tests", "version": 2}})
    for n in range(6):
        clock.now_ms += 1000
        db.create_instance(
            "order",
            1 + n % 2,
            instance_id=f"order-{n}",
            initial_ctx={"amount": n, "é": [1.5, None]},
        )
    db.apply_event("order-1", "PAY", {"by": "card"}, event_id="e-1", idempotency_key="pay-1")
    db.compact()
    db.apply_event("order-2", "PAY", {"big": "x" * 6000}, idempotency_key="pay-2")
    db.snapshot_instance("order-2")
    with db.batch(atomic=True) as batch:
        batch.apply_event("order-1", "SHIP")
        batch.create_instance("order", 1, idempotency_key="made")
        batch.delete_instance("order-0", idempotency_key="gone")
    db.apply_event("order-3", "NOTE", {"deep": {"a": {"b": [True, -(2**63), 2**64 - 1]}}})


def main() -> None:
    """Write <name>/ and <name>.json beside this file."""
    here = Path(__file__).parent
    clock = Clock()
    target = here / sys.argv[1]
    options = StorageOptions(
        log=LogOptions(segment_bytes=2048, preallocate_bytes=0),
        compaction=CompactionOptions(enabled=False),
    )
    with Database.open(target, options, clock=clock, new_id=lambda: "generated-1") as db:
        fill(db, clock)
    (target / "LOCK").unlink()
    with Database.open(target, options, clock=clock) as db:
        found = contents(db)
    (target / "LOCK").unlink()
    (here / f"{sys.argv[1]}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
