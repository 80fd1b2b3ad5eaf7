"""Exit codes, and the one place where a failure becomes a line on standard error."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .output import escaped

__all__ = ["CODES_HELP", "INTERRUPTED", "SERVER", "reported"]

SERVER = 1
USAGE = 2
UNREACHABLE = 3
AUTH = 4
PRECONDITION = 5
TIMEOUT = 6
INTERRUPTED = 130

CODES_HELP = (
    "0 done, 1 server error, 2 wrong usage, 3 unreachable, 4 authentication, "
    "5 precondition (not found, exists, invalid transition, guard, conflict), 6 timeout, "
    "130 interrupted"
)

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
    "UNAUTHORIZED": "; give a token with --token or RSTMDB_TOKEN",
    "GUARD_FAILED": "; get-instance shows its context",
    "INSTANCE_NOT_FOUND": "; list-instances shows what there is",
    "AUTH_FAILED": "; check the token in --token, RSTMDB_TOKEN or RSTMDB_URL",
}


@contextmanager
def reported(*, verbose: bool, name: str = "rstmdb-cli: ") -> Iterator[None]:
    """Turn what is raised into a message and an exit code; a traceback only when `verbose`.

    `name` is what the message begins with.
    What click itself knows how to report passes, a reader that has gone away among it.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
        message, code = _described(error, verbose=verbose)
        head, colon, rest = escaped(message).partition(":")
        click.echo(f"{click.style(name + head, fg='red')}{colon}{rest}", err=True)
        sys.exit(code)


def _described(error: Exception, *, verbose: bool) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    import rstmdb_client as client

    if isinstance(error, client.ServerError):
        message = f"{error.code}: {error.message}{_HINTS.get(error.code, '')}"
        if verbose and error.details:
            message += "\n" + json.dumps(error.details, indent=2, ensure_ascii=False)
        return message, _BY_CODE.get(error.code, SERVER)
    if isinstance(error, client.RequestTimeout):
        return str(error), TIMEOUT
    if isinstance(error, client.ConnectFailed):
        return f"{error}; --server, RSTMDB_SERVER or RSTMDB_URL name the server", UNREACHABLE
    if isinstance(error, client.ConnectionLost):
        return str(error), UNREACHABLE
    if isinstance(error, client.WatchEnded):
        resume = error.resume_from
        hint = "" if resume is None else f"; --from-offset {resume} is where it can go on"
        return f"{error}{hint}", PRECONDITION
    if isinstance(error, client.RstmdbError):
        return str(error), SERVER
    cause = error.__cause__ or error
    if isinstance(cause, UnicodeEncodeError) and cause.encoding == "utf-8":
        return "an argument is not UTF-8, or holds half of a surrogate pair", USAGE
    message = " ".join(f"{type(error).__name__}: {error}".split())
    if verbose:
        message += "\n" + "".join(traceback.format_exception(error)).rstrip()
    return message, SERVER
