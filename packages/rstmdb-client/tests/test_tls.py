"""Tokens, TLS, and TLS with certificates on both sides, against a real server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import rstmdb_client as client
from rstmdb_server.testing import ServerProcess


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A server that wants a certificate, and the folder with everybody's files."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    issued.private_key_pem.write_to_path(folder / "server-key.pem")
    authority.issue_cert("me@example").private_key_and_cert_chain_pem.write_to_path(
        folder / "me.pem"
    )
    env = {
        "RSTMDB_TLS_ENABLED": "true",
        "RSTMDB_TLS_CERT": str(folder / "server.pem"),
        "RSTMDB_TLS_KEY": str(folder / "server-key.pem"),
        "RSTMDB_TLS_REQUIRE_CLIENT_CERT": "true",
        "RSTMDB_TLS_CLIENT_CA": str(folder / "ca.pem"),
    }
    with ServerProcess(folder, env) as process:
        yield process, folder


def test_both_sides_show_certificates(
    open_db: Callable[..., Any], secure: tuple[ServerProcess, Path]
) -> None:
    server, folder = secure
    url = f"rstmdbs://localhost:{server.port}?client_cert={folder / 'me.pem'}"
    assert open_db(url, ca_cert=str(folder / "ca.pem")).ping().pong
    assert open_db(url, insecure=True).ping().pong
    by_address = url.replace("localhost", "127.0.0.1")
    named = {"ca_cert": str(folder / "ca.pem"), "server_name": "localhost"}
    assert open_db(by_address, **named).ping().pong


def test_a_certificate_that_is_wrong_or_missing_is_told(
    open_db: Callable[..., Any], secure: tuple[ServerProcess, Path]
) -> None:
    server, folder = secure
    mine = f"client_cert={folder / 'me.pem'}"
    url = f"rstmdbs://localhost:{server.port}"
    with pytest.raises(client.ConnectFailed, match=r"certificate verify failed.*; ca_cert names"):
        open_db(f"{url}?{mine}", ca_cert=str(folder / "stranger.pem"))
    with pytest.raises(client.ConnectFailed, match="certificate verify failed"):
        open_db(f"{url.replace('localhost', '127.0.0.1')}?{mine}", ca_cert=str(folder / "ca.pem"))
    with pytest.raises(client.ConnectFailed, match="localhost"):
        open_db(url, ca_cert=str(folder / "ca.pem"))
    with pytest.raises(client.ConnectFailed, match="localhost"):
        open_db(f"rstmdb://localhost:{server.port}", connect_timeout=1)


def test_who_mistakes_tls_is_told(
    open_db: Callable[..., Any], secure: tuple[ServerProcess, Path], server: ServerProcess
) -> None:
    with_tls, _ = secure
    with pytest.raises(client.ConnectFailed, match="does the server speak TLS"):
        open_db(f"rstmdbs://{server.address}")
    with pytest.raises(client.ConnectFailed, match=r"this looks like TLS|closed|without TLS"):
        open_db(f"rstmdb://{with_tls.address}", connect_timeout=1)


def test_who_reaches_another_kind_of_server_is_told(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    web = peer(lambda session: session.stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(client.ConnectFailed, match=r"bad magic b'HTTP'.*looks like HTTP"):
        open_db(web.url)


def test_a_token_is_wanted_where_certificates_are_not(
    open_db: Callable[..., Any], secure: tuple[ServerProcess, Path], tmp_path: Path
) -> None:
    _, folder = secure
    env = {
        "RSTMDB_AUTH_REQUIRED": "true",
        "RSTMDB_AUTH_TOKEN_HASH": hashlib.sha256(b"s@fe").hexdigest(),
        "RSTMDB_TLS_ENABLED": "true",
        "RSTMDB_TLS_CERT": str(folder / "server.pem"),
        "RSTMDB_TLS_KEY": str(folder / "server-key.pem"),
    }
    with ServerProcess(tmp_path, env) as server:
        where = f"localhost:{server.port}?ca_cert={folder / 'ca.pem'}"
        db = open_db(f"rstmdbs://s%40fe@{where}")
        assert db.list_machines().items == []
        pad = "x" * 500_000
        definition = {"states": ["on"], "initial": "on", "transitions": [], "meta": {"pad": pad}}
        db.put_machine("lamp", 1, definition)
        db.create_instance("lamp", 1, instance_id="i", initial_ctx={"pad": pad})
        assert db.get_instance("i").ctx == {"pad": pad}
        with client.SyncClient.from_url(f"rstmdbs://s%40fe@{where}").watch_instance("i") as watch:
            for timeout in (0, 0.01):
                with pytest.raises(TimeoutError, match="no event in time"):
                    watch.receive(timeout)
            db.delete_instance("i")
            with pytest.raises(client.WatchEnded, match="instance_deleted"):
                watch.receive(20)
        with pytest.raises(client.AuthFailedError):
            open_db(f"rstmdbs://wrong@{where}")
        stranger = open_db(f"rstmdbs://{where}")
        assert stranger.ping().pong
        with pytest.raises(client.UnauthorizedError):
            stranger.list_machines()
