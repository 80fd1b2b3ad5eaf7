"""TLS: a server's context, made from files and refreshed from them."""

from __future__ import annotations

import ssl
from pathlib import Path

from .config import ConfigError, TlsConfig

__all__ = ["make_ssl_context", "reload_ssl_context"]


def make_ssl_context(tls: TlsConfig) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer, with client certificates checked as configured.

    With `client_ca_path` and without `require_client_cert` a certificate is checked only if
    the client shows one. Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    if tls.client_ca_path is not None:
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_cert else ssl.CERT_OPTIONAL
    return context


def reload_ssl_context(context: ssl.SSLContext, tls: TlsConfig) -> None:
    """Take up renewed files; open connections keep what they began with.

    An authority that was taken out of `client_ca_path` is trusted until the next start: a
    context only adds. Raises ConfigError, and then leaves the context as it was.
    """
    make_ssl_context(tls)
    _load(context, tls)


def _load(context: ssl.SSLContext, tls: TlsConfig) -> None:
    if tls.require_client_cert and tls.client_ca_path is None:
        raise ConfigError(
            "tls.require_client_cert: needs tls.client_ca_path, whose certificates sign "
            "those of clients"
        )
    cert = _readable("tls.cert_path", tls.cert_path)
    key = _readable("tls.key_path", tls.key_path)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(_explain(cert, key, error)) from error
    if tls.client_ca_path is not None:
        authorities = _readable("tls.client_ca_path", tls.client_ca_path)
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError as error:
            raise ConfigError(
                f"tls.client_ca_path: {authorities} holds no certificate in PEM"
            ) from error


def _readable(key: str, path: Path | None) -> Path:
    if path is None:
        raise ConfigError(f"{key}: must be set when tls.enabled is true")
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ConfigError(f"{key}: {path} can't be read: {error.strerror}") from error


def _no_password() -> str:
    """Called for an encrypted key, which the library would otherwise ask for at the terminal."""
    raise ConfigError("tls.key_path: the key is encrypted; give one without a passphrase")


def _explain(cert: Path, key: Path, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls.key_path: {key} is not the key of the certificate in {cert}"
    if b"-----BEGIN CERTIFICATE-----" not in cert.read_bytes():
        return f"tls.cert_path: {cert} holds no certificate in PEM"
    if b"PRIVATE KEY-----" not in key.read_bytes():
        return f"tls.key_path: {key} holds no private key in PEM"
    return f"tls.cert_path: {cert} and {key} can't be used: {error.reason or error}"
