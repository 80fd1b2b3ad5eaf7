"""What the global options come to: where the server is, and how results are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from .exits import reported

if TYPE_CHECKING:
    from rstmdb_client import SyncClient

__all__ = ["Session", "pass_session"]


@dataclass(frozen=True)
class Session:
    """The global options of one invocation."""

    url: str | None
    server: str
    token: str | None
    tls: bool
    ca_cert: str | None
    client_cert: str | None
    client_key: str | None
    insecure: bool
    server_name: str | None
    wire_mode: str
    verbose: bool
    output: str

    def target(self) -> str:
        """The client's URL; --url and RSTMDB_URL set server, token and TLS at once."""
        if self.url is not None:
            return self.url
        options = {
            "ca_cert": self.ca_cert,
            "client_cert": self.client_cert,
            "client_key": self.client_key,
            "server_name": self.server_name,
            "insecure": "true" if self.insecure else None,
            "wire_mode": None if self.wire_mode == "binary" else self.wire_mode,
        }
        query = urlencode({name: value for name, value in options.items() if value is not None})
        secure = self.tls or any((self.ca_cert, self.client_cert, self.insecure))
        token = f"{quote(self.token, safe='')}@" if self.token else ""
        scheme = "rstmdbs" if secure else "rstmdb"
        return f"{scheme}://{token}{self.server}" + (f"?{query}" if query else "")

    @contextmanager
    def connected(self) -> Iterator[SyncClient]:
        """A connected client; what goes wrong becomes a message and an exit code."""
        with reported(verbose=self.verbose):
            from rstmdb_client import SyncClient

            with SyncClient.from_url(self.target()) as client:
                yield client

    def call(self, op: str, **params: Any) -> dict[str, Any]:
        """Send one request and return exactly the protocol's result object."""
        given = {name: value for name, value in params.items() if value is not None}
        with self.connected() as client:
            return client.call(op, given)


pass_session = click.make_pass_decorator(Session)
