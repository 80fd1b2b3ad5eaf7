"""The shipped client in an environment of its own, and a server for it to talk to."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from rstmdb_server.testing import ServerProcess
from shipped import Shipped, Thing
from wire import Wire

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the client and what it needs, no more."""
    folder = tmp_path_factory.mktemp("shipped-client")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    install += ["--no-deps", "-r", str(HERE / "requirements.txt")]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the shipped client could not be installed:\n{done.stderr}"
    return python


@pytest.fixture(scope="module")
def shipped(environment: Path) -> Iterator[Shipped]:
    with Shipped(environment, HERE / "shipped_driver.py") as process:
        yield process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    env = {
        "RSTMDB_ALLOW_FLUSH_ALL": "true",
        "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
        "RSTMDB_COMPRESS_FROM": "0",
        "RSTMDB_MAX_MACHINE_VERSIONS": "2",
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), env) as process:
        yield process


@pytest.fixture
def emptied(server: ServerProcess) -> ServerProcess:
    with Wire(server.host, server.port) as wire:
        wire.call("FLUSH_ALL")
    return server


@pytest.fixture
def client(shipped: Shipped, emptied: ServerProcess) -> Iterator[Thing]:
    """A connected Client on an empty database."""
    thing = shipped.make("Client", emptied.host, emptied.port)
    thing.call("connect")
    yield thing
    thing.call("close")


@pytest.fixture
def connection(shipped: Shipped, emptied: ServerProcess) -> Iterator[Thing]:
    """A connected Connection, the client's lower level, on an empty database."""
    thing = shipped.make("Connection", emptied.host, emptied.port)
    thing.call("connect")
    yield thing
    thing.call("close")


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for the token `sesame`."""
    env = {
        "RSTMDB_AUTH_REQUIRED": "true",
        "RSTMDB_AUTH_TOKEN_HASH": hashlib.sha256(b"sesame").hexdigest(),
    }
    with ServerProcess(tmp_path_factory.mktemp("guarded"), env) as process:
        yield process


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files: `ca` issued `server` and `client` (each with its key); `other_ca` issued none."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    made = {
        "ca": ca.cert_pem,
        "other_ca": trustme.CA().cert_pem,
        "server": ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem,
        "client": ca.issue_cert("client@example.org").private_key_and_cert_chain_pem,
    }
    for name, pem in made.items():
        pem.write_to_path(folder / f"{name}.pem")
    return {name: str(folder / f"{name}.pem") for name in made}


@pytest.fixture(scope="module")
def tls_server(
    tmp_path_factory: pytest.TempPathFactory, certificates: dict[str, str]
) -> Iterator[ServerProcess]:
    """A server that speaks TLS and asks for a client certificate."""
    env = {
        "RSTMDB_TLS_ENABLED": "true",
        "RSTMDB_TLS_CERT": certificates["server"],
        "RSTMDB_TLS_KEY": certificates["server"],
        "RSTMDB_TLS_REQUIRE_CLIENT_CERT": "true",
        "RSTMDB_TLS_CLIENT_CA": certificates["ca"],
    }
    with ServerProcess(tmp_path_factory.mktemp("tls"), env) as process:
        yield process
