"""Exit codes, and the one place where a failure becomes a line on standard error.

0 done, 1 server error, 2 wrong usage, 3 unreachable, 4 authentication, 5 a precondition (not
found, exists, invalid transition, guard, conflict), 6 timeout, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

__all__ = ["AUTH", "INTERRUPTED", "PRECONDITION", "SERVER", "TIMEOUT", "UNREACHABLE", "reported"]

SERVER = 1
USAGE = 2
UNREACHABLE = 3
AUTH = 4
PRECONDITION = 5
TIMEOUT = 6
INTERRUPTED = 130

_BY_CODE = {
    "UNAUTHORIZED": AUTH,
    "AUTH_FAILED": AUTH,
    "NOT_FOUND": PRECONDITION,
    "MACHINE_NOT_FOUND": PRECONDITION,
    "MACHINE_VERSION_EXISTS": PRECONDITION,
    "MACHINE_VERSION_LIMIT_EXCEEDED": PRECONDITION,
    "INSTANCE_NOT_FOUND": PRECONDITION,
    "INSTANCE_EXISTS": PRECONDITION,
    "INVALID_TRANSITION": PRECONDITION,
    "GUARD_FAILED": PRECONDITION,
    "CONFLICT": PRECONDITION,
}

_HINTS = {
    "UNAUTHORIZED": "give a token with --token or RSTMDB_TOKEN",
    "AUTH_FAILED": "check the token in --token or RSTMDB_TOKEN",
}


@contextmanager
def reported(*, verbose: bool) -> Iterator[None]:
    """Turn what the client raises into a message and an exit code; never a traceback."""
    from rstmdb_client import (
        ConnectFailed,
        ConnectionLost,
        RequestTimeout,
        RstmdbError,
        ServerError,
    )

    try:
        yield
    except ServerError as error:
        _report_server_error(error.code, error.message, error.details, verbose=verbose)
    except RequestTimeout as error:
        _fail(str(error), TIMEOUT)
    except (ConnectFailed, ConnectionLost) as error:
        _fail(f"{error}; is the server running there? (--server, RSTMDB_SERVER)", UNREACHABLE)
    except RstmdbError as error:
        _fail(str(error), SERVER)
    except ValueError as error:  # a URL or a setting that makes no sense
        _fail(str(error), USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _report_server_error(
    code: str, message: str, details: dict[str, object], *, verbose: bool
) -> NoReturn:
    hint = _HINTS.get(code)
    text = f"{code}: {message}" + (f"; {hint}" if hint else "")
    if verbose and details:
        text += "\n" + json.dumps(details, indent=2, ensure_ascii=False)
    _fail(text, _BY_CODE.get(code, SERVER))


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"rstmdb-cli: {message}", err=True)
    sys.exit(code)
