"""Backups that a running server takes under load, restored elsewhere and to chosen offsets."""

from __future__ import annotations

import random
import time
from pathlib import Path

from journal import COUNTER, Journal, Writer, raise_failures, read_log
from rstmdb_server.testing import ServerProcess
from rstmdb_storage import Database
from rstmdb_storage.offline import restore_backup
from wire import Json, Wire


def states_at(log: dict[int, Json], offset: int) -> dict[str, int]:
    """What each counter says right after the record at an offset, from the log alone."""
    found: dict[str, int] = {}
    for at, entry in log.items():
        if at > offset:
            break
        if entry["type"] == "create_instance":
            found[entry["instance_id"]] = 0
        elif entry["type"] == "apply_event":
            found[entry["instance_id"]] = entry["payload"]["n"]
    return found


def restored(source: Path, target: Path, to_offset: int | None = None) -> dict[str, int]:
    """Restore, open, and read every counter."""
    restore_backup(source, target, to_offset=to_offset)
    with Database.open(target) as db:
        page = db.list_instances(machine="counter", limit=1000)
        return {row.id: db.get_instance(row.id).ctx.get("n", 0) for row in page.instances}


def is_cut(log: dict[int, Json], offset: int) -> bool:
    """Whether an offset is the first half of an atomic batch, which a restore leaves out."""
    entry = log[offset]
    if entry["type"] != "apply_event" or entry["payload"]["n"] % 5:
        return False
    later = [at for at in log if at > offset]
    following = log[later[0]] if later else None
    return following is not None and following.get("payload") == entry["payload"]


def test_backups_under_load_equal_what_the_log_says(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    env = {
        "RSTMDB_BACKUP_DIR": str(backups),
        "RSTMDB_COMPACT_ENABLED": "false",
        "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
    }
    with ServerProcess(tmp_path, env) as server:
        with Wire(server.host, server.port) as wire:
            wire.call("PUT_MACHINE", machine="counter", version=1, definition=COUNTER)
            writers = [
                Writer(lambda: Wire(server.host, server.port), Journal(f"w{n}")) for n in range(3)
            ]
            for writer in writers:
                writer.start()
            taken = []
            log: dict[int, Json] = {}
            for number in range(3):
                time.sleep(0.3)
                taken.append(wire.call("BACKUP", name=f"b{number}"))
                log |= read_log(wire)
                if number == 1:  # the next backup begins with a snapshot
                    wire.call("COMPACT", force_snapshot=True)
        server.kill()
        raise_failures(writers)
    rng = random.Random(7)
    for backup in taken:
        source = backups / backup["name"]
        head = backup["wal_offset"]
        expected = states_at(log, head)
        assert restored(source, tmp_path / f"{backup['name']}-newest") == expected
    first = backups / taken[0]["name"]
    choices = [
        at for at, entry in log.items()
        if at <= taken[0]["wal_offset"] and entry["type"] == "apply_event"
    ]  # fmt: skip
    for number, offset in enumerate(rng.sample(choices, 5)):
        found = restored(first, tmp_path / f"at-{number}", offset)
        if is_cut(log, offset):
            before = max(at for at in log if at < offset)
            assert found == states_at(log, before)
        else:
            assert found == states_at(log, offset)
