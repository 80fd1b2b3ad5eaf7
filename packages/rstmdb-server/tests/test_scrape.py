"""A scripted workload, and every figure that a scrape then shows."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from rstmdb_server.testing import ServerProcess
from wire import Wire

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}


def metrics_address(server: ServerProcess) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = re.search(r"metrics on (http://[^/]+)/metrics", "\n".join(server.log_lines()))
        if found:
            return found[1]
        time.sleep(0.02)
    raise AssertionError("no metrics address in the log")


def scrape(address: str) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_is_right_after_a_scripted_workload(tmp_path: Path) -> None:
    env = {
        "RSTMDB_METRICS_ENABLED": "true",
        "RSTMDB_METRICS_BIND": "127.0.0.1:0",
        "RSTMDB_COMPACT_ENABLED": "false",
    }
    with ServerProcess(tmp_path, env) as server:
        address = metrics_address(server)
        with (
            Wire(server.host, server.port) as wire,
            Wire(server.host, server.port) as watcher,
        ):
            wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
            for n in range(3):
                wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id=f"r-{n}")
            watcher.call("WATCH_ALL")
            watcher.call("WATCH_INSTANCE", instance_id="r-0")
            for n in range(5):
                wire.call("APPLY_EVENT", instance_id="r-0", event="T", payload={"n": n})
            for _ in range(10):
                watcher.event()
            for _ in range(4):
                assert wire.request("APPLY_EVENT", instance_id="r-1", event="NO")["error"]
            wire.call("DELETE_INSTANCE", instance_id="r-2")
            wire.call("COMPACT")
            wire.call("SNAPSHOT_INSTANCE", instance_id="r-0")
            wire.send_json({"id": "1", "op": "NOPE"})
            wire.receive()
            stats = wire.call("WAL_STATS")
            shown = scrape(address)
            expected = {
                ("rstmdb_connections_total", ""): 2,
                ("rstmdb_connections_active", ""): 2,
                ("rstmdb_requests_total", "operation=HELLO"): 2,
                ("rstmdb_requests_total", "operation=PUT_MACHINE"): 1,
                ("rstmdb_requests_total", "operation=CREATE_INSTANCE"): 3,
                ("rstmdb_requests_total", "operation=APPLY_EVENT"): 9,
                ("rstmdb_requests_total", "operation=WATCH_ALL"): 1,
                ("rstmdb_requests_total", "operation=PING"): 0,
                ("rstmdb_request_duration_seconds_count", "operation=APPLY_EVENT"): 9,
                ("rstmdb_request_duration_seconds_count", "operation=COMPACT"): 1,
                ("rstmdb_errors_total", "code=INVALID_TRANSITION"): 4,
                ("rstmdb_errors_total", "code=BAD_REQUEST"): 1,
                ("rstmdb_errors_total", "code=GUARD_FAILED"): 0,
                ("rstmdb_subscriptions_active", "type=all"): 1,
                ("rstmdb_subscriptions_active", "type=instance"): 1,
                ("rstmdb_events_forwarded_total", "type=all"): 5,
                ("rstmdb_events_forwarded_total", "type=instance"): 5,
                ("rstmdb_instances_total", ""): 2,
                ("rstmdb_machines_total", ""): 1,
                ("rstmdb_wal_entries", ""): stats["entry_count"],
                ("rstmdb_wal_segments", ""): stats["segment_count"],
                ("rstmdb_wal_size_bytes", ""): stats["total_size_bytes"],
                ("rstmdb_wal_writes_total", ""): stats["io_stats"]["writes"],
                ("rstmdb_wal_fsyncs_total", ""): stats["io_stats"]["fsyncs"],
                ("rstmdb_wal_bytes_written_total", ""): stats["io_stats"]["bytes_written"],
                ("rstmdb_wal_bytes_read_total", ""): stats["io_stats"]["bytes_read"],
                ("rstmdb_wal_reads_total", ""): stats["io_stats"]["reads"],
                ("rstmdb_compaction_duration_seconds_count", ""): 1,
                ("rstmdb_snapshot_duration_seconds_count", ""): 2,
                ("rstmdb_maintenance_failures_total", "task=snapshot"): 0,
                ("rstmdb_maintenance_failures_total", "task=compaction"): 0,
                ("rstmdb_maintenance_failures_total", "task=backup"): 0,
                ("rstmdb_skipped_records", ""): 0,
                ("rstmdb_ignored_entries", ""): 0,
                ("rstmdb_watcher_lag_bytes", ""): 0,
            }
            assert {key: shown.get(key) for key in expected} == expected
            assert shown["rstmdb_fsync_duration_seconds_count", ""] >= 10
            assert shown["rstmdb_commit_records_sum", ""] == stats["entry_count"]
        deadline = time.monotonic() + 5
        while scrape(address)["rstmdb_connections_active", ""]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert scrape(address)["rstmdb_subscriptions_active", "type=all"] == 0
        with urllib.request.urlopen(f"{address}/readyz", timeout=10) as answer:
            assert json.load(answer) == {"status": "ready"}
