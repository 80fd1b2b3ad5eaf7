"""The example configurations: each is taken by the server, and says why it is as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from rstmdb_client import ServerError, SyncClient
from rstmdb_server.config import SETTINGS
from rstmdb_server.testing import ServerProcess

CONFIGURATIONS = Path(__file__).parents[2] / "deploy" / "config"
NAMES = sorted(path.stem for path in CONFIGURATIONS.glob("*.yaml"))
GO = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [{"from": "a", "event": "GO", "to": "b"}],
}


def leaves(name: str) -> dict[str, object]:
    sections: dict[str, dict[str, object]] = yaml.safe_load(
        (CONFIGURATIONS / f"{name}.yaml").read_text()
    )
    return {
        f"{section}.{key}": sections[section][key]
        for section in sections
        for key in sections[section]
    }


def check(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rstmdb_server", "--check-config", "--config", config],
        cwd=config.parent,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_passes_the_servers_own_check(
    name: str, place: Callable[[str], Path]
) -> None:
    checked = check(place(name))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "the configuration is valid\n"


def test_a_configuration_whose_key_is_missing_does_not(
    place: Callable[[str], Path], tmp_path: Path
) -> None:
    moved = place("production")
    (tmp_path / "etc" / "server.key").unlink()
    checked = check(moved)
    assert checked.returncode == 2
    assert "tls.key_path" in checked.stderr


@pytest.mark.parametrize("name", NAMES)
def test_keys_stand_behind_a_comment_that_says_why(name: str) -> None:
    lines = (CONFIGURATIONS / f"{name}.yaml").read_text().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"  [a-z_]+:", line):
            assert not re.match(r"[a-z]+:$|$", before), f"{name}.yaml: {line.strip()}"
    assert set(leaves(name)) <= set(SETTINGS)


def test_production_gives_up_no_protection() -> None:
    keys = leaves("production")
    assert keys["storage.fsync_policy"] == "every_write"
    assert keys["storage.recovery"] == "strict"
    assert keys["auth.required"] is True
    assert keys["tls.enabled"] is True
    assert str(keys["metrics.bind_addr"]).startswith("127.0.0.1:")


def test_high_throughput_loses_what_it_says() -> None:
    assert leaves("high-throughput")["storage.fsync_policy"] == {"every_ms": 20}
    text = (CONFIGURATIONS / "high-throughput.yaml").read_text()
    assert "in the last 20 ms" in text
    assert "follows within 20 ms" in text


@pytest.mark.parametrize("name", ["development", "high-throughput"])
def test_a_server_with_it_keeps_what_it_acknowledged(
    name: str, place: Callable[[str], Path], tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path, {"RSTMDB_METRICS_BIND": "127.0.0.1:0"}, config=place(name))
    with server:
        with SyncClient.from_url(f"rstmdb://{server.address}") as db:
            db.put_machine("m", 1, GO)
            db.create_instance("m", 1, instance_id="i")
            db.apply_event("i", "GO")
        server.kill()
        server.start()
        with SyncClient.from_url(f"rstmdb://{server.address}") as db:
            assert db.get_instance("i").state == "b"


def test_production_lets_in_only_those_with_certificate_and_token(
    place: Callable[[str], Path], tmp_path: Path, certificates: Path, token: str
) -> None:
    proof = f"client_cert={certificates}/client.pem&client_key={certificates}/client.key"
    moved = place("production")
    with ServerProcess(tmp_path, {"RSTMDB_METRICS_BIND": "127.0.0.1:0"}, config=moved) as server:
        url = f"rstmdbs://{server.address}?ca_cert={certificates}/ca.pem&{proof}"
        with SyncClient.from_url(url, token=token) as db:
            assert db.info().instances == 0
        with (
            pytest.raises(ServerError) as refused,
            SyncClient.from_url(url, token="another") as db,
        ):
            db.info()
        assert refused.value.code == "AUTH_FAILED"
