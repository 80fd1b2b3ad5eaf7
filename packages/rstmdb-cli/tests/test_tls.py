"""TLS: authorities, names, client certificates, and doing without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import Result

from rstmdb_server.testing import ServerProcess

Run = Callable[..., Result]


class Certificates:
    """A server's certificate for `localhost`, its authority, a client's, and a stranger."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("localhost")
        client = authority.issue_cert("client@example.org")
        self.ca = self._file(folder, "ca.pem", authority.cert_pem)
        self.stranger = self._file(folder, "stranger.pem", trustme.CA().cert_pem)
        self.cert = self._file(folder, "cert.pem", server.cert_chain_pems[0])
        self.key = self._file(folder, "key.pem", server.private_key_pem)
        self.client_cert = self._file(folder, "client.pem", client.cert_chain_pems[0])
        self.client_key = self._file(folder, "client-key.pem", client.private_key_pem)

    @staticmethod
    def _file(folder: Path, name: str, content: trustme.Blob) -> str:
        content.write_to_path(folder / name)
        return str(folder / name)

    def env(self) -> dict[str, str]:
        return {
            "RSTMDB_TLS_ENABLED": "true",
            "RSTMDB_TLS_CERT": self.cert,
            "RSTMDB_TLS_KEY": self.key,
        }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, files: Certificates
) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("secure"), files.env()) as process:
        yield process


@pytest.fixture(scope="module")
def mutual(
    tmp_path_factory: pytest.TempPathFactory, files: Certificates
) -> Iterator[ServerProcess]:
    env = files.env() | {
        "RSTMDB_TLS_REQUIRE_CLIENT_CERT": "true",
        "RSTMDB_TLS_CLIENT_CA": files.ca,
    }
    with ServerProcess(tmp_path_factory.mktemp("mutual"), env) as process:
        yield process


def test_with_its_authority_the_server_is_trusted(
    invoke: Run, secure: ServerProcess, files: Certificates
) -> None:
    named = ("-s", f"localhost:{secure.port}")
    assert invoke(*named, "--tls", "--ca-cert", files.ca, "ping").exit_code == 0
    assert invoke(*named, "--ca-cert", files.ca, "ping").exit_code == 0
    env = {
        "RSTMDB_SERVER": f"localhost:{secure.port}",
        "RSTMDB_TLS": "1",
        "RSTMDB_CA_CERT": files.ca,
    }
    assert invoke("ping", env=env).exit_code == 0
    url = f"rstmdbs://localhost:{secure.port}?ca_cert={files.ca}"
    assert invoke("ping", env={"RSTMDB_URL": url}).exit_code == 0


def test_without_it_the_server_is_not(
    invoke: Run, secure: ServerProcess, files: Certificates
) -> None:
    for options in (("--tls",), ("--ca-cert", files.stranger)):
        result = invoke("-s", f"localhost:{secure.port}", *options, "ping")
        assert (result.exit_code, result.stdout) == (3, "")
        assert "certificate verify failed" in result.stderr


def test_the_name_must_be_the_certificates(
    invoke: Run, secure: ServerProcess, files: Certificates
) -> None:
    by_address = ("-s", secure.address, "--ca-cert", files.ca)
    result = invoke(*by_address, "ping")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "127.0.0.1" in result.stderr
    assert invoke(*by_address, "--server-name", "localhost", "ping").exit_code == 0
    assert invoke(*by_address, "ping", env={"RSTMDB_SERVER_NAME": "localhost"}).exit_code == 0


def test_insecure_trusts_anybody(invoke: Run, secure: ServerProcess) -> None:
    assert invoke("-s", secure.address, "--insecure", "ping").stdout == "pong  true\n"
    assert invoke("-s", secure.address, "--tls", "-k", "ping").exit_code == 0


def test_a_client_certificate_is_shown(
    invoke: Run, mutual: ServerProcess, files: Certificates
) -> None:
    named = ("-s", f"localhost:{mutual.port}", "--ca-cert", files.ca)
    assert invoke(*named, "ping").exit_code == 3
    shown = ("--client-cert", files.client_cert, "--client-key", files.client_key)
    assert invoke(*named, *shown, "ping").exit_code == 0


def test_plain_text_to_a_tls_server_is_unreachable(invoke: Run, secure: ServerProcess) -> None:
    result = invoke("-s", secure.address, "ping")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "Traceback" not in result.stderr
