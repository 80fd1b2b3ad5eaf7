"""The unit under a real systemd: a user's manager in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "rstmdb.service"
SCRIPT = Path(__file__).with_name("under_systemd.sh")
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
ESSENTIAL = {"SystemCallFilter", "CapabilityBoundingSet", "NoNewPrivileges", "ProtectSystem"}

pytestmark = pytest.mark.slow


def namespaces_can_be_had() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the script told about the life of the unit."""
    if not Path("/lib/systemd/systemd").exists() or shutil.which("systemctl") is None:
        pytest.skip("systemd is not installed")
    if not namespaces_can_be_had():
        pytest.skip("this machine gives no namespaces to the tests")
    folder = tmp_path_factory.mktemp("systemd")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "rstmdb.yaml"
    # A user's manager keeps state directories beside its settings.
    config.write_text(
        f"network: {{bind_addr: '{address}'}}\n"
        f"storage: {{data_dir: {folder}/rstmdb/data, backup_dir: {folder}/rstmdb/backups}}\n"
    )
    commands = Path(sys.executable).parent
    unit = folder / UNIT.name
    start = f"{commands}/rstmdb-server --config {config}"
    text = UNIT.read_text().replace(
        "/opt/rstmdb/bin/rstmdb-server --config /etc/rstmdb/rstmdb.yaml", start
    )
    # The interpreter of the tests may live where these two let nothing be seen.
    text = text.replace("ProtectHome=yes\n", "").replace("PrivateTmp=yes\n", "")
    unit.write_text(
        text.replace("[Service]", f"[Service]\nStandardError=append:{folder}/server.log")
    )
    done = subprocess.run(
        [*NAMESPACES, SCRIPT, folder, unit, commands / "rstmdb-cli", address, config],
        capture_output=True,
        text=True,
        timeout=100,
    )
    if "manager: running" not in done.stdout:
        pytest.skip(f"no systemd starts here: {done.stdout}{done.stderr}"[-300:])
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    missing = ESSENTIAL & set(lines["left out"].split())
    if missing:
        pytest.skip(f"this machine cannot give {', '.join(sorted(missing))}")
    return lines


def test_it_starts_when_the_server_says_that_it_is_ready(told: dict[str, str]) -> None:
    assert told["started"] == "active"


def test_the_server_runs_without_privileges_behind_a_filter(told: dict[str, str]) -> None:
    assert told["seccomp"] == "2"
    assert int(told["capabilities"], 16) == 0
    assert told["privileges"] == "1"


def test_a_reload_leaves_it_running(told: dict[str, str]) -> None:
    assert told["reloaded"] == "active"


def test_it_comes_back_after_a_kill_with_everything_that_it_acknowledged(
    told: dict[str, str],
) -> None:
    assert told["kept"] == "1"


def test_a_stop_is_clean(told: dict[str, str]) -> None:
    assert (told["stopped"], told["result"]) == ("inactive", "success")


def test_a_wrong_configuration_is_not_tried_again(told: dict[str, str]) -> None:
    assert told["with a wrong configuration"] == "failed"
    assert told["restarts after that"] == "0"
