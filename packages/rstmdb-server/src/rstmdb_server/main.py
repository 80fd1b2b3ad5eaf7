"""The command `rstmdb-server`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import anyio
import click

from rstmdb_storage import StorageError

from . import __version__, logs
from .config import Config, ConfigError, load_config
from .config.check import check

__all__ = ["main"]

logger = logging.getLogger("rstmdb.main")

EXIT_FAILED = 1
EXIT_CONFIG = 2

_OTHER_FILES = 100
"""Descriptors for the log, the listeners and all else but connections, roughly."""

_LISTEN_ERRNOS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without any argument it serves ./data on 127.0.0.1:7401. "
    "Every setting has a key in the file and a variable; see the README.",
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    envvar="RSTMDB_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="YAML file of settings.",
)
@click.option("--data-dir", metavar="DIR", help="Where the data lies, over storage.data_dir.")
@click.option("--bind", metavar="HOST:PORT", help="Address to serve, over network.bind_addr.")
@click.option(
    "--check-config",
    is_flag=True,
    help="Read and check all settings, create nothing, and exit.",
)
@click.version_option(__version__, "--version", prog_name="rstmdb-server")
def main(
    config_path: Path | None, data_dir: str | None, bind: str | None, check_config: bool
) -> None:
    """Run the rstmdb server, a database of state machines."""
    given = {"storage.data_dir": data_dir, "network.bind_addr": bind}
    overrides = {key: value for key, value in given.items() if value is not None}
    try:
        config = load_config(config_path, os.environ, overrides)
        check(config)
    except ConfigError as error:
        _fail(str(error), EXIT_CONFIG)
    if check_config:
        for warning in config.warnings:
            click.echo(f"rstmdb-server: warning: {warning}", err=True)
        click.echo("the configuration is valid")
        return
    logs.configure(config.logging)
    for warning in config.warnings:
        logger.warning("%s", warning)
    sys.exit(_run(config))


def _run(config: Config) -> int:
    """Serve until told to stop; the exit code."""
    from .server import serve  # after the checks, so that those answer at once

    _make_room(config.network.max_connections + _OTHER_FILES)
    # Until the server listens there is nothing to drain: Ctrl-C ends a long recovery at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = {"use_uvloop": find_spec("uvloop") is not None}
    try:
        return anyio.run(serve, config, backend="asyncio", backend_options=options)
    except Exception as error:
        cause = _expected(error)
        if cause is None:
            logger.critical("the server failed: %s", error, exc_info=error)
            _fail(str(error), EXIT_FAILED)
        logger.debug("the server failed: %s", cause, exc_info=error)
        if isinstance(cause, ConfigError):
            _fail(str(cause), EXIT_CONFIG)
        _fail(_explain(cause, config) if isinstance(cause, OSError) else str(cause), EXIT_FAILED)


def _make_room(descriptors: int) -> None:
    """Let the system's table of open files grow at once to what it may have to hold.

    Linux doubles it as needed, and beside other threads an `accept` that needs it doubled takes
    10 to 15 ms, in which the event loop stands still. There are no other threads yet.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = descriptors if soft == resource.RLIM_INFINITY else min(descriptors, soft - 1)
    with contextlib.suppress(OSError), Path(os.devnull).open("rb") as file:
        os.close(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, last))


def _expected(error: Exception) -> ConfigError | StorageError | OSError | None:
    """The first failure, also inside a group, that needs no traceback to be understood."""
    if isinstance(error, ExceptionGroup):
        return next((found for one in error.exceptions if (found := _expected(one))), None)
    return error if isinstance(error, ConfigError | StorageError | OSError) else None


def _explain(error: OSError, config: Config) -> str:
    """One line on an error of the operating system: what failed, and what helps.

    An error with a file name tells itself; the metrics listener puts its address there.
    """
    unresolved = isinstance(error, socket.gaierror)
    if not unresolved and error.errno not in _LISTEN_ERRNOS:
        return str(error)
    key, address = "network.bind_addr", config.network.bind_addr
    if error.filename == config.metrics.bind_addr:
        key, address = "metrics.bind_addr", config.metrics.bind_addr
    elif error.filename is not None:
        return str(error)
    reason = error.strerror if unresolved or error.errno is None else os.strerror(error.errno)
    help_text = {
        errno.EADDRINUSE: "stop the process that listens there, or choose another port",
        errno.EACCES: "ports below 1024 need a privilege; choose another port",
    }.get(error.errno or 0, "choose an address of this machine")
    option = " or --bind" if key == "network.bind_addr" else ""
    return f"can't listen on {address}: {reason}; {help_text} with {key}{option}"


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"rstmdb-server: error: {' '.join(message.split())}", err=True)
    sys.exit(code)
