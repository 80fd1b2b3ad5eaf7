"""What comes to a TLS port and is no client of ours: refused, and nothing to the others."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import struct
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from wire import Wire, frame

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

PING = frame(b'{"id":"1","op":"PING"}')
EXPIRED = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Authority:
    """A CA with the files of a server that asks clients for certificates."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.file)
        server = folder / "server.pem"
        self.ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
        self.env = {
            "RSTMDB_TLS_ENABLED": "true",
            "RSTMDB_TLS_CERT": str(server),
            "RSTMDB_TLS_KEY": str(server),
        }

    def client(self, issuer: trustme.CA | None = None, **options: object) -> ssl.SSLContext:
        """A context that trusts this authority; its certificate comes from `issuer`, if any."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if issuer is not None:
            certificate = issuer.issue_cert("client@example.org", **options)  # type: ignore[arg-type]
            certificate.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls_siege(besiege_for_all: Besiege, authority: Authority) -> Siege:
    """A server with TLS that lets clients in without a certificate."""
    return besiege_for_all(authority=authority.file, RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS="1",
                   **authority.env)  # fmt: skip


def end_of(connection: socket.socket) -> bytes:
    """What the server still sends before it closes or resets."""
    received = b""
    try:
        while data := connection.recv(4096):
            received += data
    except ConnectionError:
        pass
    return received


def test_plain_text_to_a_tls_port_is_closed_without_an_answer_in_the_clear(
    tls_siege: Siege,
) -> None:
    def attack() -> None:
        for data in (PING, b'{"id":"1","op":"PING"}\n', b"GET / HTTP/1.1\r\n\r\n", bytes(5000)):
            with tls_siege.server.connect() as plain:
                plain.sendall(data)
                assert b"pong" not in end_of(plain)

    tls_siege.withstands("plain text to the TLS port", attack)


def test_a_client_that_distrusts_the_server_is_nothing_to_the_others(tls_siege: Siege) -> None:
    def attack() -> None:
        for _ in range(5):
            with tls_siege.server.connect() as plain, pytest.raises(ssl.SSLError):
                ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")

    tls_siege.withstands("clients that trust another CA", attack)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_older_than_1_2_is_refused(
    tls_siege: Siege, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with tls_siege.connect(tls=context) as wire:
        assert wire.call("PING") == {"pong": True}
    context.minimum_version = context.maximum_version = version

    def attack() -> None:
        for _ in range(5):
            with (
                tls_siege.server.connect() as plain,
                pytest.raises((ssl.SSLError, ConnectionError)),
            ):
                context.wrap_socket(plain, server_hostname="127.0.0.1")

    tls_siege.withstands(f"{version.name}", attack)


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first flight of a handshake, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        end.do_handshake()
    return outgoing.read()


def test_a_hello_byte_by_byte_is_closed_at_the_deadline(
    tls_siege: Siege, authority: Authority
) -> None:
    hello = client_hello(authority.client())
    assert len(hello) > 200

    def attack() -> None:
        with ExitStack() as stack:
            slow = [stack.enter_context(tls_siege.server.connect()) for _ in range(50)]
            began = time.monotonic()
            for byte in hello[:15]:
                for connection in slow:
                    connection.sendall(bytes([byte]))
                time.sleep(0.04)
            for connection in slow:
                end_of(connection)
            assert 0.5 < time.monotonic() - began < 6

    tls_siege.withstands("50 TLS hellos byte by byte", attack)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_hello_of_one_byte_a_second_against_the_default_deadline(
    besiege: Besiege, authority: Authority
) -> None:
    siege = besiege(authority=authority.file, **authority.env)
    hello = client_hello(authority.client())

    def attack() -> None:
        with ExitStack() as stack:
            slow = [stack.enter_context(siege.server.connect()) for _ in range(200)]
            try:
                for byte in hello[:15]:
                    for connection in slow:
                        connection.sendall(bytes([byte]))
                    time.sleep(1)
            except OSError:
                return
            raise AssertionError("a hello that trickles outlived the deadline of 10 s")

    siege.withstands("200 TLS hellos, a byte a second", attack, tries=1)


def test_broken_and_unfinished_handshakes_leave_nothing_behind(
    tls_siege: Siege, authority: Authority
) -> None:
    hello = client_hello(authority.client())
    broken = bytearray(hello)
    broken[20] ^= 0xFF
    oversized = b"\x16\x03\x01\xff\xff" + bytes(65_535)

    def attack() -> None:
        for data in (hello, bytes(broken), oversized, hello + bytes(100), hello[:40]):
            connection = tls_siege.server.connect()
            connection.sendall(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    tls_siege.withstands("broken and reset TLS handshakes", attack)


def test_a_storm_of_whole_handshakes(tls_siege: Siege, authority: Authority) -> None:
    """Each costs the server a signature, so that this is as much work as a client can ask for."""
    context = authority.client()

    def attack() -> None:
        for _ in range(5):
            with tls_siege.connect(hello=False, tls=context) as wire:
                assert wire.call("PING") == {"pong": True}

    tls_siege.withstands("TLS handshakes one after another", attack)


def test_bytes_in_the_clear_behind_a_handshake_end_the_connection(
    tls_siege: Siege, authority: Authority
) -> None:
    def attack() -> None:
        with tls_siege.connect(tls=authority.client()) as wire:
            raw = socket.socket(fileno=wire.socket.detach())
            with raw:
                raw.settimeout(10)
                raw.sendall(PING * 3)
                assert b"pong" not in end_of(raw)

    tls_siege.withstands("plain text behind a TLS handshake", attack)


def test_a_peer_that_leaves_without_close_notify_is_forgotten(
    tls_siege: Siege, authority: Authority
) -> None:
    def attack() -> None:
        for _ in range(5):
            with tls_siege.connect(tls=authority.client()) as wire:
                wire.send("PING")

    tls_siege.withstands("TLS peers gone without close_notify", attack)
    with tls_siege.connect(tls=authority.client()) as wire:
        deadline = time.monotonic() + 5
        while wire.call("INFO")["connections"] > 2:  # itself and the healthy client
            assert time.monotonic() < deadline
            time.sleep(0.05)


def refused_certificate(siege: Siege, context: ssl.SSLContext) -> str:
    """How a server turns a client's certificate down.

    With TLS 1.3 a client learns it only when it reads: its own handshake is done by then.
    """
    try:
        with Wire(siege.server.host, siege.server.port, hello=False, tls=context) as wire:
            wire.send("PING")
            wire.receive()
    except (ssl.SSLError, ConnectionError, EOFError) as error:
        return type(error).__name__ + str(error)
    raise AssertionError("the server served a client that it should have refused")


def test_only_certificates_of_the_configured_authority_open_the_door(
    besiege: Besiege, authority: Authority, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    client = authority.ca.issue_cert("healthy@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(both)
    siege = besiege(
        authority=authority.file,
        certificate=both,
        RSTMDB_TLS_REQUIRE_CLIENT_CERT="true",
        RSTMDB_TLS_CLIENT_CA=str(authority.file),
        **authority.env,
    )
    with siege.connect(tls=authority.client(authority.ca)) as wire:
        assert wire.call("PING") == {"pong": True}
    cases = {
        "no client certificate": authority.client(),
        "a client certificate of another CA": authority.client(trustme.CA()),
        "an expired client certificate": authority.client(authority.ca, not_after=EXPIRED),
    }
    for name, context in cases.items():
        siege.withstands(name, partial(refused_certificate, siege, context))
