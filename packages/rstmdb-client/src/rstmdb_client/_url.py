"""Where a server is and how to talk to it: from a URL, or from keyword arguments.

rstmdb://[TOKEN@]HOST[:PORT][,HOST[:PORT]...][?OPTION=VALUE&...]; rstmdbs:// is TLS. Options:
ca_cert, client_cert, client_key, server_name, insecure, wire_mode, connect_timeout,
request_timeout, retry_timeout, idempotency.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from rstmdb_protocol import WireMode

from ._errors import TlsSetupFailed

if TYPE_CHECKING:
    import ssl

__all__ = ["DEFAULT_PORT", "Target"]

DEFAULT_PORT = 7401
_SECONDS = ("connect_timeout", "request_timeout", "retry_timeout")
_MODES = {"binary": WireMode.BINARY_JSON, "jsonl": WireMode.JSONL}


_IDEMPOTENCY = ("auto", "off")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_ENVIRONMENT = ("token", "ca_cert", "client_cert", "client_key", "server_name", "wire_mode")


class Target(Struct, frozen=True):
    """One or more hosts, tried in turn, and how to talk to them.

    Timeouts are in seconds and above 0: `connect_timeout` for TCP, TLS, HELLO and AUTH
    together, for each host; `request_timeout` for one answer; `retry_timeout` (from 0: not at
    all) for how long after its first failure a call is tried again where that is safe.

    With `idempotency` "auto" every create, apply and delete without a key gets one of its
    own; with "off" it goes without, and is not sent again after the connection broke.

    Certificates and keys are paths of PEM files. `server_name` is the name that the server's
    certificate must have, the host unless given; `insecure` looks at no certificate at all.
    `wire_mode` is "binary" or "jsonl".

    Raises ValueError for what makes no sense.
    """

    hosts: tuple[tuple[str, int], ...] = (("127.0.0.1", DEFAULT_PORT),)
    token: str | None = None
    tls: bool = False
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    insecure: bool = False
    wire_mode: str = "binary"
    connect_timeout: float = 10.0
    request_timeout: float = 30.0
    retry_timeout: float = 30.0
    idempotency: str = "auto"

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("hosts: at least one is needed")
        for name, known in (("wire_mode", _MODES), ("idempotency", _IDEMPOTENCY)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, not one of {', '.join(known)}"
                )
        for name in _SECONDS:
            value = getattr(self, name)
            least = "0 or more" if name == "retry_timeout" else "above 0"
            good = isinstance(value, int | float) and 0 <= value < math.inf
            if not good or (value == 0 and name != "retry_timeout"):
                raise ValueError(f"{name} is {value!r}, not a number of seconds, {least}")

    def __repr__(self) -> str:
        """All but the token, which is a secret."""
        shown = (f"{n}={getattr(self, n)!r}" for n in self.__struct_fields__ if n != "token")
        return f"Target({', '.join(shown)})"

    @classmethod
    def parse(cls, url: str, **overrides: Any) -> Target:
        """Read a URL; keyword arguments go before it, unless they are None.

        Raises ValueError that names what is wrong (and never the token).
        """
        return cls(**_over(cls, _url_options(cls, url), overrides))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Target:
        """What the variables of rstmdb-cli say; keyword arguments go before them.

        RSTMDB_URL sets server, token and TLS at once; else RSTMDB_SERVER (HOST[:PORT]) and
        RSTMDB_TLS do. RSTMDB_TOKEN, RSTMDB_CA_CERT, RSTMDB_CLIENT_CERT, RSTMDB_CLIENT_KEY,
        RSTMDB_SERVER_NAME, RSTMDB_INSECURE and RSTMDB_WIRE_MODE count where the URL says
        nothing. Raises ValueError.
        """
        given: dict[str, Any] = {
            name: value for name in _ENVIRONMENT if (value := environ.get(f"RSTMDB_{name.upper()}"))
        }
        for name in ("tls", "insecure"):
            value = environ.get(f"RSTMDB_{name.upper()}")
            if value:
                given[name] = _boolean(f"RSTMDB_{name.upper()}", value)
        url = environ.get("RSTMDB_URL")
        if url:
            given.update(_url_options(cls, url))
        else:
            given["hosts"] = (_host(environ.get("RSTMDB_SERVER") or "127.0.0.1"),)
        return cls(**_over(cls, given, overrides))

    def with_options(self, **options: Any) -> Target:
        """The same target with other options. Raises ValueError."""
        return replace(self, **options)

    @property
    def modes(self) -> tuple[str, ...]:
        """Wire modes to offer in HELLO, in order of preference."""
        return tuple(dict.fromkeys((_MODES[self.wire_mode].value, WireMode.BINARY_JSON.value)))

    def ssl_context(self) -> ssl.SSLContext | None:
        """A context for TLS 1.2 and newer, or None for plain TCP. Raises TlsSetupFailed."""
        if not self.tls:
            return None
        import ssl  # slow to import, and seldom needed

        path = self.ca_cert
        try:
            context = ssl.create_default_context(cafile=self.ca_cert)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_cert is not None:
                path = f"{self.client_cert}, {self.client_key or 'with the key inside'}"
                context.load_cert_chain(self.client_cert, self.client_key)
        except OSError as error:
            raise TlsSetupFailed(f"can't use {path}: {error}") from error
        return context


def _over(cls: type[Target], options: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put keyword arguments over options, unless they are None. Raises ValueError."""
    known = set(cls.__struct_fields__)
    unknown = set(over) - known
    if unknown:
        raise ValueError(f"unknown option {min(unknown)!r}; known: {', '.join(sorted(known))}")
    return options | {name: value for name, value in over.items() if value is not None}


def _url_options(cls: type[Target], url: str) -> dict[str, Any]:
    """The options that a URL gives. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("rstmdb", "rstmdbs"):
        raise ValueError(
            f"a URL begins with rstmdb:// or rstmdbs://, not with {parts.scheme or url!r}"
        )
    userinfo, at, hosts = parts.netloc.rpartition("@")
    if parts.path not in ("", "/"):
        raise ValueError(f"a URL ends with the host and port, but there is {parts.path!r}")
    if parts.fragment:
        raise ValueError("a URL has no fragment: write # in a token as %23")
    if not hosts.strip(","):
        raise ValueError("the URL names no host")
    options: dict[str, Any] = {
        "hosts": tuple(_host(text) for text in hosts.split(",") if text),
        "tls": parts.scheme == "rstmdbs",
    }
    if at:
        options["token"] = unquote(userinfo)
    known = sorted(set(cls.__struct_fields__) - {"hosts", "token", "tls"})
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"unknown option {name!r} in the URL; known: {', '.join(known)}")
        options[name] = _option(name, value)
    return options


def _host(text: str) -> tuple[str, int]:
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise ValueError(f"{text!r} is no host and port")
        port = rest.removeprefix(":")
    elif ":" in text:
        host, _, port = text.rpartition(":")
    if not host or (":" in host and not text.startswith("[")):
        raise ValueError(f"{text!r} is no host and port; an IPv6 address stands in [brackets]")
    if not port:
        return host, DEFAULT_PORT
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{port!r} is no port, which is 1 to 65535")
    return host, int(port)


def _option(name: str, value: str) -> object:
    if name in _SECONDS:
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}, not a number of seconds") from None
    if name == "insecure":
        return _boolean(name, value)
    return value


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(_BOOLEANS)}")
    return _BOOLEANS[value.lower()]
