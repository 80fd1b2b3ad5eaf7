"""What the global options come to: where the server is, and how results are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from .profiles import apply_profile

if TYPE_CHECKING:
    from rstmdb_client import SyncClient, Target

    from .lookup import Lookup

__all__ = ["Session", "pass_session"]

_IMPLY_TLS = ("ca_cert", "client_cert", "client_key", "insecure", "server_name")


class Session(NamedTuple):
    """The global options of one invocation.

    `options` are the client's own: `over` go before what the URL says, `under` count where
    it says nothing. `kept` is a connection that outlives a command, and `lookup` what completion
    asks; the REPL has both.
    """

    url: str
    over: dict[str, Any]
    under: dict[str, Any]
    output: str
    kept: SyncClient | None = None
    lookup: Lookup | None = None

    @classmethod
    def of(cls, context: click.Context) -> Session:
        """What the parameters of the main command come to. Raises UsageError."""
        apply_profile(context)
        options = dict(context.params)
        for name in ("verbose", "profile"):
            del options[name]
        if options.pop("as_json"):
            options["output"] = "json"
        return cls.resolve(context, **options)

    @classmethod
    def resolve(
        cls,
        context: click.Context,
        *,
        url: str | None,
        server: str,
        output: str,
        **options: Any,
    ) -> Session:
        """Decide between the command line, the URL and the variables, in this order."""

        def source(name: str) -> ParameterSource | None:
            return context.get_parameter_source(name)

        typed = {n for n in options if source(n) is ParameterSource.COMMANDLINE}
        if url and source("server") is ParameterSource.COMMANDLINE:
            if source("url") is ParameterSource.COMMANDLINE:
                raise click.UsageError("--url and --server both name the server: give one")
            url = None  # nor does the token in RSTMDB_URL go to another server
        if not url:
            options["tls"] = options["tls"] or any(options[name] for name in _IMPLY_TLS)
            return cls(f"rstmdb://{server}", options, {}, output)
        over = {name: options[name] for name in typed}
        if typed.intersection(_IMPLY_TLS):
            over["tls"] = True
        if source("wire_mode") is not ParameterSource.DEFAULT:
            over["wire_mode"] = options["wire_mode"]
        under = {
            n: v for n, v in options.items() if n not in over and n not in ("tls", "wire_mode")
        }
        return cls(url, over, under, output)

    def target(self) -> Target:
        """Where the client is to connect, and how. Raises UsageError."""
        from rstmdb_client import Target

        try:
            target = Target.parse(self.url, **self.over)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        unsaid = {name: value for name, value in self.under.items() if not getattr(target, name)}
        target = target.with_options(**unsaid)
        if target.client_key and not target.client_cert:
            raise click.UsageError("--client-key needs --client-cert")
        try:
            target.ssl_context()
        except OSError as error:  # ssl.SSLError is one
            raise click.UsageError(f"the files for TLS can't be used: {error}") from error
        return target

    def address(self) -> str:
        """The servers, as a person would name them. Raises UsageError."""
        return ", ".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for host, port in self.target().hosts
        )

    def client(self) -> SyncClient:
        """A client that is not connected yet."""
        from rstmdb_client import SyncClient

        return SyncClient(self.target())

    @contextmanager
    def connected(self) -> Iterator[SyncClient]:
        """A client that is connected: the one that is kept, or one for this command alone."""
        if self.kept is not None:
            self.kept.connect()
            yield self.kept
            return
        with self.client() as client:
            yield client

    def call(self, op: str, **params: Any) -> dict[str, Any]:
        """Send one request and return exactly the protocol's result object."""
        given = {name: value for name, value in params.items() if value is not None}
        with self.connected() as client:
            return client.call(op, given)


pass_session = click.make_pass_decorator(Session)
