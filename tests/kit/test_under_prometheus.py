"""A real Prometheus scrapes a real server: every panel has something to show, every rule runs."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rstmdb_client import InvalidTransitionError, SyncClient
from rstmdb_server.testing import ServerProcess

DEPLOY = Path(__file__).parents[2] / "deploy"
SWITCH = {
    "states": ["on", "off"],
    "initial": "on",
    "transitions": [
        {"from": "on", "event": "SWITCH", "to": "off"},
        {"from": "off", "event": "SWITCH", "to": "on"},
    ],
}
DEADLINE_SECS = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is not installed (Debian has a package of that name)",
    ),
]

Ask = Callable[[str], Any]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    env = {"RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": free_address()}
    with ServerProcess(tmp_path_factory.mktemp("server"), env) as process:
        yield process


@pytest.fixture(scope="module")
def ask(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Ask a Prometheus that has the kit's configuration, but looks each second."""
    folder = tmp_path_factory.mktemp("prometheus")
    told = re.search(r"metrics on http://(\S+)/metrics", "\n".join(server.log_lines()))
    assert told is not None
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(
        text.replace("rstmdb:9090", told[1]).replace("15s", "1s")
    )
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
    address = free_address()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )  # fmt: skip

    def ask_for(path: str) -> Any:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    try:
        wait_until(lambda: ask_for("query?query=1"), process, folder / "log")
        yield ask_for
    finally:
        process.terminate()
        process.wait(20)


def wait_until(
    true: Callable[[], Any], process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    deadline = time.monotonic() + DEADLINE_SECS
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except OSError:
            assert process is None or process.poll() is None, log and log.read_text()
        time.sleep(0.2)
    raise AssertionError("it did not come to that in time")


def values(ask: Ask, expression: str) -> list[float]:
    found = ask("query?" + urllib.parse.urlencode({"query": expression}))["result"]
    return [float(series["value"][1]) for series in found]


def seconds_of_scrapes(ask: Ask) -> float:
    return sum(values(ask, 'count_over_time(up{job="rstmdb"}[5m])'))


@pytest.fixture(scope="module")
def busy(server: ServerProcess, ask: Ask) -> Ask:
    """Prometheus, after it has watched the server work for some seconds."""
    with SyncClient.from_url(f"rstmdb://{server.address}") as db:
        wait_until(lambda: seconds_of_scrapes(ask) >= 2)
        db.put_machine("lamp", 1, SWITCH)
        db.create_instance("lamp", 1, instance_id="hall")
        db.compact(force_snapshot=True)
        with db.watch_all():
            until = seconds_of_scrapes(ask) + 6

            def work() -> bool:
                for _ in range(20):
                    db.apply_event("hall", "SWITCH")
                    db.get_instance("hall")
                with pytest.raises(InvalidTransitionError):
                    db.apply_event("hall", "BREAK")
                return seconds_of_scrapes(ask) >= until

            wait_until(work)
    return ask


def test_every_panel_has_something_to_show(busy: Ask) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "5s").replace("$instance", ".*")
            found = values(busy, text)
            assert found, f"{panel['title']}: {text}"
            assert not any(map(math.isnan, found)), f"{panel['title']}: NaN"


def test_every_rule_runs_and_none_fires_about_a_server_that_is_well(busy: Ask) -> None:
    (group,) = busy("rules")["groups"]
    for rule in group["rules"]:
        assert (rule["health"], rule.get("lastError")) == ("ok", None), rule["name"]
        assert rule["state"] == "inactive", rule["name"]


def test_a_server_that_is_gone_is_noticed(busy: Ask, server: ServerProcess) -> None:
    server.kill()

    def noticed() -> bool:
        (group,) = busy("rules")["groups"]
        states = {rule["name"]: rule["state"] for rule in group["rules"]}
        return bool(states["RstmdbDown"] in {"pending", "firing"})

    wait_until(noticed)
