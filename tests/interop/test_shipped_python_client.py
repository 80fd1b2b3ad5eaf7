"""The shipped Python client, unmodified and in an environment of its own, against our server.

Its methods were found by looking at it from outside (dir, signatures); its source is not read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rstmdb_server.auth import hash_token
from rstmdb_server.testing import ServerProcess

CLIENT = "rstmdb==0.2.1"
TOKEN = "s3cret"
DRIVER = Path(__file__).parent / "driver.py"


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the shipped client and nothing of ours."""
    environment = tmp_path_factory.mktemp("shipped") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", CLIENT]
    subprocess.run(install, check=True)
    return python


@pytest.fixture(scope="module")
def told(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver has to tell after it called everything."""
    env = {
        "RSTMDB_ALLOW_FLUSH_ALL": "true",
        "RSTMDB_AUTH_REQUIRED": "true",
        "RSTMDB_AUTH_TOKEN_HASH": hash_token(TOKEN),
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), env) as server:
        done = subprocess.run(
            [str(interpreter), str(DRIVER), server.host, str(server.port), TOKEN],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def results(told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = told["results"]
    return found


@pytest.mark.timeout(300)
def test_every_public_method_was_called(told: dict[str, Any]) -> None:
    assert told["uncovered"] == []


def test_connecting_pinging_and_reconnecting(results: dict[str, Any]) -> None:
    assert results["is_connected"] == {"ok": True}
    assert results["ping"] == {"ok": True}
    assert results["info"]["ok"]["server_name"] == "rstmdb"
    assert results["info"]["ok"]["max_batch_ops"] == 100
    assert results["reconnect"] == results["close"] == {"ok": None}
    assert results["after reconnect"]["ok"]["state"] == "shipped"
    assert results["connect with a wrong token"] == {"error": "AUTH_FAILED"}


def test_machines(results: dict[str, Any]) -> None:
    assert results["put_machine"]["ok"]["created"] is True
    assert results["put_machine again"]["ok"]["created"] is False
    assert results["put_machine other"] == {"error": "MACHINE_VERSION_EXISTS"}
    assert results["put_machine bad"] == {"error": "BAD_REQUEST"}
    machine = results["get_machine"]["ok"]
    assert machine["checksum"] == results["put_machine"]["ok"]["stored_checksum"]
    assert machine["definition"]["transitions"][0]["from"] == ["created"]
    assert results["get_machine unknown"] == {"error": "MACHINE_NOT_FOUND"}
    assert results["list_machines"] == {"ok": [{"machine": "order", "versions": [1]}]}


def test_instances(results: dict[str, Any]) -> None:
    assert results["create"]["ok"]["instance_id"] == "o-1"
    assert results["create"]["ok"]["state"] == "created"
    assert results["create exists"] == {"error": "INSTANCE_EXISTS"}
    assert results["create repeat"] == results["create unnamed"]
    instance = results["get_instance"]["ok"]
    assert (instance["machine"], instance["version"]) == ("order", 1)
    assert instance["state"] == "shipped"
    assert instance["ctx"] == {"amount": 5, "by": "card"}
    assert results["get unknown"] == {"error": "INSTANCE_NOT_FOUND"}
    page = results["list_instances"]["ok"]
    assert [row["id"] for row in page["instances"]][1:] == ["poor"]
    assert (page["total"], page["has_more"]) == (4, True)
    assert [row["id"] for row in results["list by state"]["ok"]["instances"]] == ["o-1"]
    assert results["delete"]["ok"]["deleted"] is True
    assert results["delete repeat"] == results["delete"]
    assert results["delete unknown"] == {"error": "INSTANCE_NOT_FOUND"}


def test_events(results: dict[str, Any]) -> None:
    applied = results["apply"]["ok"]
    assert (applied["from_state"], applied["to_state"]) == ("created", "paid")
    assert applied["ctx"] == {"amount": 5, "by": "card"}
    assert applied["applied"] is True
    assert results["apply repeat"] == {"ok": {**applied, "applied": False}}
    assert results["apply conflict"] == {"error": "CONFLICT"}
    assert results["apply invalid"] == {"error": "INVALID_TRANSITION"}
    assert results["apply guard"] == {"error": "GUARD_FAILED"}
    assert results["apply unknown"] == {"error": "INSTANCE_NOT_FOUND"}
    assert results["apply ship"]["ok"]["to_state"] == "shipped"


def test_watches(results: dict[str, Any]) -> None:
    one = results["watch_instance"]["ok"]
    everything = results["watch_all"]["ok"]
    assert (one["instance_id"], one["current_state"]) == ("o-1", "created")
    assert everything["wal_offset"] >= one["current_wal_offset"]
    assert results["watch unknown"] == {"error": "INSTANCE_NOT_FOUND"}
    seen = [(e["subscription_id"], e["event"], e["to_state"]) for e in results["events"]["ok"]]
    both = (one["subscription_id"], everything["subscription_id"])
    assert sorted(seen) == sorted(
        [(i, "PAY", "paid") for i in both] + [(i, "SHIP", "shipped") for i in both]
    )
    assert results["unwatch"]["ok"]["removed"] is True
    assert results["unwatch all"]["ok"]["removed"] is True
    assert results["unwatch again"]["ok"]["removed"] is False


def test_log_compaction_and_flush_all(results: dict[str, Any]) -> None:
    assert results["flush_all"]["ok"]["flushed"] is True
    records = results["wal_read"]["ok"]["records"]
    assert [record["entry"]["type"] for record in records] == [
        "flush_all",
        "put_machine",
        "create_instance",
        "create_instance",
        "create_instance",
    ]
    assert [record["sequence"] for record in records] == [1, 2, 3, 4, 5]
    stats = results["wal_stats"]["ok"]
    assert stats["entry_count"] == 9
    assert stats["io_stats"]["fsyncs"] > 0
    assert results["compact"]["ok"]["snapshots_created"] == 1
