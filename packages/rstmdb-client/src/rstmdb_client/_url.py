"""Where a server is and how to talk to it: from a URL, or from keyword arguments.

rstmdb://[TOKEN@]HOST[:PORT][,HOST[:PORT]...][?OPTION=VALUE&...]; rstmdbs:// is TLS. Options:
ca_cert, client_cert, client_key, server_name, insecure, wire_mode, connect_timeout,
request_timeout, retry_timeout.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from rstmdb_protocol import WireMode

__all__ = ["DEFAULT_PORT", "Target"]

DEFAULT_PORT = 7401
_SECONDS = ("connect_timeout", "request_timeout", "retry_timeout")
_MODES = {"binary": WireMode.BINARY_JSON, "jsonl": WireMode.JSONL}


@dataclass(frozen=True)
class Target:
    """One or more hosts, tried in turn, and how to talk to them.

    Timeouts are in seconds: `connect_timeout` for TCP, TLS, HELLO and AUTH together,
    `request_timeout` for one answer, `retry_timeout` for how long a safe call is tried again
    (0: not at all).
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

    @classmethod
    def parse(cls, url: str, **overrides: Any) -> Target:
        """Read a URL; keyword arguments go before it. Raises ValueError naming what is wrong."""
        parts = urlsplit(url)
        if parts.scheme not in ("rstmdb", "rstmdbs"):
            raise ValueError(
                f"{url!r}: a URL begins with rstmdb:// or rstmdbs://, not {parts.scheme!r}"
            )
        userinfo, at, hosts = parts.netloc.rpartition("@")
        options: dict[str, Any] = {
            "hosts": tuple(_host(text, url) for text in hosts.split(",") if text),
            "token": unquote(userinfo) if at else None,
            "tls": parts.scheme == "rstmdbs",
        }
        if not options["hosts"]:
            raise ValueError(f"{url!r} names no host")
        known = {field.name for field in fields(cls)} - set(options)
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in known:
                raise ValueError(f"{url!r}: unknown option {name!r}; known: {sorted(known)}")
            options[name] = _option(name, value, url)
        options.update({name: value for name, value in overrides.items() if value is not None})
        target = cls(**options)
        if target.wire_mode not in _MODES:
            raise ValueError(
                f"{url!r}: wire_mode is {target.wire_mode!r}, not one of {sorted(_MODES)}"
            )
        return target

    def with_options(self, **options: Any) -> Target:
        """The same target with other options."""
        return replace(self, **options)

    @property
    def modes(self) -> tuple[str, ...]:
        """Wire modes to offer in HELLO, in order of preference."""
        return (_MODES[self.wire_mode].value, WireMode.BINARY_JSON.value)

    def ssl_context(self) -> ssl.SSLContext | None:
        """A context for TLS 1.2 and newer, or None for plain TCP. Raises OSError, ssl.SSLError."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_cert)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context


def _host(text: str, url: str) -> tuple[str, int]:
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif ":" in text:
        host, _, port = text.rpartition(":")
    if not port:
        return host, DEFAULT_PORT
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{url!r}: {port!r} is no port, which is 1 to 65535")
    return host, int(port)


def _option(name: str, value: str, url: str) -> object:
    if name in _SECONDS:
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{url!r}: {name} is {value!r}, not a number of seconds") from None
    if name == "insecure":
        if value not in ("true", "false", "1", "0"):
            raise ValueError(f"{url!r}: insecure is {value!r}, not true or false")
        return value in ("true", "1")
    return value
