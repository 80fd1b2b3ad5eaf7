"""What only the file system can tell about a configuration, told before anything is touched."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from rstmdb_server.auth import TokenSet
from rstmdb_server.tls import make_ssl_context

from ._errors import ConfigError
from ._settings import Config

__all__ = ["check"]


def check(config: Config) -> None:
    """Refuse what the server could not or must not start with; creates nothing.

    Raises ConfigError: AUTH required without a token, TLS files that are missing, unreadable
    or don't belong together, directories that can't be written.
    """
    TokenSet(config.auth)
    if config.tls.enabled:
        make_ssl_context(config.tls)
    if config.tracing.enabled and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        raise ConfigError(
            "tracing.enabled: needs OpenTelemetry, which is not installed here: "
            "pip install 'rstmdb-server[otel]'"
        )
    _check_directory("storage.data_dir", config.storage.data_dir)
    if config.storage.backup_dir is not None:
        _check_directory("storage.backup_dir", config.storage.backup_dir)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _check_directory(key: str, path: Path) -> None:
    """A directory must be writable, or be possible to make."""
    existing = path.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise ConfigError(f"{key}: {existing} is not a directory")
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"{key}: {existing} can't be written by user {os.geteuid()}; "
            "change its owner or choose another directory"
        )
