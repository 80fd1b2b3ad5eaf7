"""Watchers that lag while the log is compacted: held back for, up to the lag that is allowed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rstmdb_server.testing import ServerProcess
from wire import Json, Wire

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}
EVENTS = 400
BYTES = 30_000


@contextmanager
def lagging(
    folder: Path, max_lag_mb: int, features: tuple[str, ...]
) -> Iterator[tuple[Wire, Wire]]:
    """A writer, and a watcher that has read nothing of 24 MB of events."""
    env = {
        "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
        "RSTMDB_COMPRESS_FROM": "0",
        "RSTMDB_COMPACT_ENABLED": "false",
        "RSTMDB_COMPACT_MAX_WATCH_LAG_MB": str(max_lag_mb),
    }
    rng = random.Random(1)
    with (
        ServerProcess(folder, env) as server,
        Wire(server.host, server.port) as writer,
        Wire(server.host, server.port, features=features) as watcher,
    ):
        writer.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        writer.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
        watcher.call("WATCH_ALL")
        for n in range(EVENTS):
            payload = {"n": n, "text": rng.randbytes(BYTES // 2).hex()}
            writer.call("APPLY_EVENT", instance_id="r", event="T", payload=payload)
        yield writer, watcher


def test_compaction_keeps_what_a_lagging_watcher_still_needs(tmp_path: Path) -> None:
    with lagging(tmp_path, 1024, ()) as (writer, watcher):
        writer.call("COMPACT")
        assert [watcher.event()["payload"]["n"] for _ in range(EVENTS)] == list(range(EVENTS))
        # Caught up, it holds nothing back any more.
        writer.call("APPLY_EVENT", instance_id="r", event="T", payload={"n": EVENTS})
        assert watcher.event()["payload"]["n"] == EVENTS
        assert writer.call("COMPACT")["segments_deleted"] > 10


def test_a_watcher_beyond_the_allowed_lag_is_told_where_it_can_go_on(tmp_path: Path) -> None:
    with lagging(tmp_path, 1, ("watch_end",)) as (writer, watcher):
        assert writer.call("COMPACT")["segments_deleted"] > 5
        seen: list[int] = []
        message: Json = watcher.receive()
        while message["type"] == "event":
            seen.append(message["payload"]["n"])
            message = watcher.receive()
        assert seen == list(range(len(seen)))
        assert len(seen) < EVENTS
        assert message["type"] == "end"
        assert message["reason"] == "compacted"
        earliest = writer.call("WAL_STATS")["earliest_offset"]
        assert message["resume_from"] == earliest
        watcher.call("WATCH_ALL", from_offset=message["resume_from"])


def test_a_watcher_that_knows_no_end_is_disconnected_rather_than_left_with_a_gap(
    tmp_path: Path,
) -> None:
    with lagging(tmp_path, 1, ()) as (writer, watcher):
        writer.call("COMPACT")
        assert watcher.closed_by_server()


def test_flush_all_ends_watches_of_instances_with_a_word_or_a_closed_connection(
    tmp_path: Path,
) -> None:
    env = {"RSTMDB_ALLOW_FLUSH_ALL": "true"}
    with (
        ServerProcess(tmp_path, env) as server,
        Wire(server.host, server.port) as writer,
        Wire(server.host, server.port) as plain,
        Wire(server.host, server.port, features=("watch_end",)) as told,
        Wire(server.host, server.port) as of_all,
    ):
        writer.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        writer.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
        for wire in (plain, told, writer):
            wire.call("WATCH_INSTANCE", instance_id="r")
        of_all.call("WATCH_ALL")
        # The one that asks watches, too: it gets its answer before its connection ends.
        assert writer.call("FLUSH_ALL")["flushed"] is True
        assert writer.closed_by_server()
        assert told.receive()["reason"] == "flush_all"
        assert told.call("PING") == {"pong": True}
        assert plain.closed_by_server()
        assert of_all.call("PING") == {"pong": True}


def test_only_zero_stands_for_the_oldest_kept_in_a_watch_of_all(tmp_path: Path) -> None:
    env = {"RSTMDB_WAL_SEGMENT_SIZE_MB": "1", "RSTMDB_COMPRESS_FROM": "0"}
    with (
        ServerProcess(tmp_path, env) as server,
        Wire(server.host, server.port, features=("watch_end",)) as wire,
    ):
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")
        wire.call("APPLY_EVENT", instance_id="r", event="T")
        for from_offset in (0, 1):  # nothing was deleted: both reach back to the beginning
            wire.call("WATCH_ALL", from_offset=from_offset)
            assert wire.event()["instance_id"] == "r"
            assert wire.call("WAL_READ", from_offset=from_offset, limit=1)["records"]
        for _ in range(50):
            payload = {"text": "x" * BYTES}
            wire.call("APPLY_EVENT", instance_id="r", event="T", payload=payload)
        assert wire.call("COMPACT")["segments_deleted"] > 0
        wire.call("WATCH_ALL", from_offset=0)
        wire.call("WATCH_INSTANCE", instance_id="r", from_offset=1)
        for op in ("WATCH_ALL", "WAL_READ"):
            refused = wire.request(op, from_offset=1)
            assert refused["error"]["code"] == "NOT_FOUND"
            assert refused["error"]["details"]["earliest_offset"] > 1
