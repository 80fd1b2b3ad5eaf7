"""The transports over which the same conversations must go: bytes differ, meaning does not."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from conftest import ORDER
from rstmdb_server.testing import ServerProcess
from wire import Lines, Wire

SUPPORT = Path(__file__).parents[1] / "support"


@dataclass(frozen=True, slots=True)
class Transport:
    """How a peer reaches the server, and which server that is."""

    server: str
    lines: Lines = ""
    features: tuple[str, ...] = ()


TRANSPORTS = {
    "frames": Transport("callback"),
    "lines from the first byte": Transport("callback", lines="from_first_byte"),
    "lines by HELLO": Transport("callback", lines="by_hello"),
    "zstd": Transport("callback", features=("zstd",)),
    "tls": Transport("callback-tls"),
    "mtls": Transport("callback-mtls"),
    "trio": Transport("trio"),
    "trio tls": Transport("trio-tls"),
}
FRAMED = [name for name, one in TRANSPORTS.items() if not (one.lines or one.features)]


class Authority:
    """Certificates for a server and its clients, from an authority of the tests' own."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._pem = folder / "server.pem"
        self._authority = folder / "ca.pem"
        self._ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self._pem)
        self._ca.cert_pem.write_to_path(self._authority)

    def settings(self, *, of_clients: bool) -> dict[str, str]:
        """What makes a server speak TLS, and ask clients for a certificate."""
        env = {
            "RSTMDB_TLS_ENABLED": "true",
            "RSTMDB_TLS_CERT": str(self._pem),
            "RSTMDB_TLS_KEY": str(self._pem),
        }
        if of_clients:
            env["RSTMDB_TLS_REQUIRE_CLIENT_CERT"] = "true"
            env["RSTMDB_TLS_CLIENT_CA"] = str(self._authority)
        return env

    def client(self, *, shows_certificate: bool) -> ssl.SSLContext:
        """A client's context that trusts the authority."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        if shows_certificate:
            self._ca.issue_cert("client@example.org").configure_cert(context)
        return context


class Servers:
    """Server processes by name, each started when it is first asked for and kept."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._authority = Authority(folder)
        self._running: dict[str, ServerProcess] = {}
        self._contexts = {
            "tls": self._authority.client(shows_certificate=False),
            "mtls": self._authority.client(shows_certificate=True),
        }

    def get(self, name: str) -> ServerProcess:
        """`callback` or `trio`, alone or with `-tls` or `-mtls` behind it."""
        if name not in self._running:
            folder = self._folder / name
            folder.mkdir()
            self._running[name] = self._stack.enter_context(self.make(name, folder))
        return self._running[name]

    def context(self, name: str) -> ssl.SSLContext | None:
        """What a client needs to reach the server of that name."""
        return self._contexts.get(name.partition("-")[2])

    def make(self, name: str, folder: Path) -> ServerProcess:
        """A server of that kind that is a test's own, not started yet."""
        adaptor, _, security = name.partition("-")
        env = {
            "RSTMDB_ALLOW_FLUSH_ALL": "true",
            "RSTMDB_BACKUP_DIR": str(folder / "backups"),
            "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
            "RSTMDB_COMPACT_ENABLED": "false",
            "RSTMDB_MAX_MACHINE_VERSIONS": "3",
        }
        env["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(SUPPORT), os.environ.get("PYTHONPATH")))
        )
        if security:
            env |= self._authority.settings(of_clients=security == "mtls")
        module = "rstmdb_server" if adaptor == "callback" else "trio_server"
        return ServerProcess(folder, env, module=module)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(scope="session", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each way to reach a server, for whatever is said over it."""
    return TRANSPORTS[request.param]


@pytest.fixture(scope="session", params=FRAMED)
def framed(request: pytest.FixtureRequest) -> Transport:
    """Each way to send frames as they are, for tests of the bytes themselves."""
    return TRANSPORTS[request.param]


def connector(servers: Servers, transport: Transport) -> Iterator[Callable[..., Wire]]:
    server = servers.get(transport.server)
    with ExitStack() as stack:

        def open_one(*, features: tuple[str, ...] = (), **options: Any) -> Wire:
            return stack.enter_context(
                Wire(
                    server.host,
                    server.port,
                    features=(*features, *transport.features),
                    tls=servers.context(transport.server),
                    lines=transport.lines,
                    **options,
                )
            )

        yield open_one


@pytest.fixture
def server(servers: Servers, transport: Transport) -> ServerProcess:
    """The server that is reached over the transport."""
    return servers.get(transport.server)


@pytest.fixture
def connect(servers: Servers, transport: Transport) -> Iterator[Callable[..., Wire]]:
    """Open connections over the transport that are closed after the test."""
    yield from connector(servers, transport)


@pytest.fixture
def connect_framed(servers: Servers, framed: Transport) -> Iterator[Callable[..., Wire]]:
    """Open connections that speak frames until the test itself says otherwise."""
    yield from connector(servers, framed)


@pytest.fixture
def wire(connect: Callable[..., Wire]) -> Wire:
    """A connection to a database that holds nothing."""
    opened = connect()
    opened.call("FLUSH_ALL")
    return opened


@pytest.fixture
def orders(wire: Wire) -> Wire:
    """A connection to a database with the machine `order` and the instance `o-1`."""
    wire.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
    wire.call(
        "CREATE_INSTANCE",
        instance_id="o-1",
        machine="order",
        version=1,
        initial_ctx={"amount": 10, "customer": {"name": "Ada"}},
    )
    return wire
