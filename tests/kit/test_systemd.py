"""The systemd unit: well-formed, hardened, and wide enough for what the server really does."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from rstmdb_client import SyncClient
from rstmdb_server.testing import ServerProcess

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = SYSTEMD / "rstmdb.service"
MOST_EXPOSURE = 15
"""Tenths of systemd's scale from 0 to 10; what it calls OK ends at 40."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True
    )


def settings(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a command that is there."""
    text = UNIT.read_text()
    assert "ExecStart=/opt/rstmdb/bin/rstmdb-server " in text
    moved = tmp_path / UNIT.name
    moved.write_text(text.replace("/opt/rstmdb/bin/rstmdb-server", sys.executable))
    return moved


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_unit(unit: Path) -> None:
    verified = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_systemd_notices_a_misspelt_setting(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHomes="))
    verified = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert "ProtectHomes" in verified.stderr


@needs_systemd
def test_the_unit_exposes_little(unit: Path) -> None:
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", unit)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert f"Overall exposure level for {UNIT.name}" in judged.stdout
    bare = unit.read_text().replace("ProtectSystem=strict", "").replace("NoNewPrivileges=yes", "")
    unit.write_text(bare.replace("SystemCallFilter=", "#"))
    assert analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", unit).returncode


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers")
def test_the_user_can_be_made() -> None:
    made = subprocess.run(
        ["systemd-sysusers", "--dry-run", SYSTEMD / "rstmdb.sysusers.conf"],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert settings("User") == settings("Group") == ["rstmdb"]
    assert re.search(r"^u rstmdb ", (SYSTEMD / "rstmdb.sysusers.conf").read_text(), re.MULTILINE)


def test_the_unit_knows_the_servers_exit_codes_and_patience() -> None:
    """Recovery may take any time, a stop 10 s and a sync; a wrong configuration stays wrong."""
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.read(UNIT)
    service = parsed["Service"]
    assert service["Type"] == "notify"
    assert service["TimeoutStartSec"] == "infinity"
    assert int(service["TimeoutStopSec"]) >= 30
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    refused = subprocess.run(
        [sys.executable, "-m", "rstmdb_server", "--check-config"],
        env={**os.environ, "RSTMDB_BIND": "nonsense"},
        capture_output=True,
    )
    assert refused.returncode == 2


def allowed_calls() -> set[str]:
    """The unit's SystemCallFilter lines, as the names of system calls."""
    allowed: set[str] = set()
    for line in settings("SystemCallFilter"):
        for group in line.lstrip("~").split():
            calls = expand(group)
            allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def expand(group: str) -> set[str]:
    if not group.startswith("@"):
        return {group}
    shown = analyze("syscall-filter", group)
    assert shown.returncode == 0, shown.stderr
    named = {
        line.strip()
        for line in shown.stdout.splitlines()[1:]
        if line.strip() and not line.strip().startswith("#")
    }
    return set().union(*(expand(name) for name in named))


@needs_systemd
@needs_strace
def test_the_server_needs_no_more_than_the_unit_lets_it(
    place: Callable[[str], Path], tmp_path: Path, certificates: Path, token: str
) -> None:
    """A life with everything in it, under strace; each call is compared with the unit."""
    proof = f"client_cert={certificates}/client.pem&client_key={certificates}/client.key"
    trace, notify = tmp_path / "trace", str(tmp_path / "notify")
    env = {
        "RSTMDB_METRICS_BIND": "127.0.0.1:0",
        "RSTMDB_BACKUP_DIR": str(tmp_path / "backups"),
        "NOTIFY_SOCKET": notify,
    }
    command = ("strace", "-f", "-qqq", "-e", "signal=none", "-s", "0", "-o", str(trace))
    server = ServerProcess(tmp_path, env, config=place("production"), command=command)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(20)
        with server:
            traced = int(trace.read_text().split()[0])
            try:
                assert manager.recv(100) == b"READY=1"
                url = f"rstmdbs://{server.address}?ca_cert={certificates}/ca.pem&{proof}"
                with SyncClient.from_url(url, token=token) as db:
                    live_through_everything(db)
                with urllib.request.urlopen(waited_for(server, "metrics on ").split()[-1]) as page:
                    assert b"process_start_time_seconds" in page.read()
                os.kill(traced, signal.SIGHUP)
                waited_for(server, "reloaded tokens")
                os.kill(traced, signal.SIGTERM)
                assert server.wait() == 0
                assert manager.recv(100) == b"STOPPING=1"
            except BaseException:
                os.kill(traced, signal.SIGKILL)  # strace alone would leave it behind
                raise
    lines = trace.read_text().splitlines()
    called = {found[1] for line in lines if (found := re.match(r"\d+ +(\w+)\(", line))}
    assert {"accept4", "fdatasync", "pwrite64"} <= called  # it was traced at all
    assert called - allowed_calls() - {"execve"} == set()
    families = {found[1] for line in lines if (found := re.search(r" socket\((AF_\w+)", line))}
    assert families <= set(settings("RestrictAddressFamilies")[0].split())
    both = [
        line for line in lines if {"PROT_WRITE", "PROT_EXEC"} <= set(re.findall(r"PROT_\w+", line))
    ]
    assert both == [], "MemoryDenyWriteExecute would refuse it"


def live_through_everything(db: SyncClient) -> None:
    definition = {
        "states": ["a", "b"],
        "initial": "a",
        "transitions": [{"from": "a", "event": "GO", "to": "b", "guard": "ctx.n > 0"}],
    }
    db.put_machine("m", 1, definition)
    with db.watch_all(from_offset=0) as watch:
        for n in range(50):
            db.create_instance("m", 1, instance_id=f"i-{n}", initial_ctx={"n": 1, "x": "x" * 9000})
            db.apply_event(f"i-{n}", "GO")
        assert next(iter(watch)).instance_id == "i-0"
    with db.batch(atomic=True) as batch:
        batch.delete_instance("i-0")
    db.snapshot_instance("i-1")
    db.compact(force_snapshot=True)
    db.backup("kit")
    assert db.wal_read(0, limit=10).records
    assert db.info().instances == 49


def waited_for(server: ServerProcess, words: str) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for line in server.log_lines():
            if words in line:
                return str(json.loads(line)["message"])
        time.sleep(0.02)
    raise AssertionError(f"{words!r} never came:\n" + "\n".join(server.log_lines()))
