"""Reading single values, alike from YAML, a variable, and the command line.

Each parser takes what YAML gave (str, int, bool, list or dict) or a variable's text, and
raises ValueError with what is allowed, worded to follow "is not".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rstmdb_storage import FsyncPolicy

__all__ = [
    "LEVELS",
    "Parser",
    "address",
    "boolean",
    "choice",
    "fsync_policy",
    "integer",
    "level",
    "optional_path",
    "path",
    "split_address",
    "token_hash",
    "token_hashes",
]

Parser = Callable[[object], object]

LEVELS = ("trace", "debug", "info", "warn", "error", "off")

_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|[0-9A-Fa-f:.]+(%[\w.-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST_FSYNC_NUMBER = 2**31 - 1


def split_address(text: str) -> tuple[str, int]:
    """Host and port of host:port or [host]:port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not _HOST.fullmatch(host) or not _INTEGER.fullmatch(port) or int(port) > 65535:
        raise ValueError(
            "an address host:port, an IPv6 host in brackets and the port from 0 to 65535, "
            "for example 127.0.0.1:7401 or [::1]:7401"
        )
    return host, int(port)


def address(value: object) -> str:
    """An address, as host:port."""
    text = value if isinstance(value, str) else ""
    split_address(text)
    return text


def integer(low: int, high: int) -> Parser:
    """A parser of whole numbers from `low` to `high`."""

    def parse(value: object) -> int:
        number = -1
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and _INTEGER.fullmatch(value):
            number = int(value)
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return parse


_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


def boolean(value: object) -> bool:
    """True or false, in any of the words for them: the key says that no other word is meant."""
    found = _BOOLEANS.get(str(value).lower()) if isinstance(value, str | int) else None
    if found is None:
        raise ValueError("true or false (nor yes, no, on, off, 1 or 0)")
    return found


def path(value: object) -> Path:
    """A path; a relative one counts from the working directory."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("a path")
    return Path(value)


def optional_path(value: object) -> Path | None:
    """A path, or nothing for null and an empty variable."""
    return None if value in (None, "") else path(value)


def choice(*names: str) -> Parser:
    """A parser of one of some names."""

    def parse(value: object) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return str(value)

    return parse


def level(value: object) -> str:
    """A log level, in any case; `warning` is understood as `warn`."""
    name = value.lower() if isinstance(value, str) else ""
    name = "warn" if name == "warning" else name
    if name not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return name


def fsync_policy(value: object) -> FsyncPolicy:
    """A policy's name, or `{every_n: N}`, or `every_n:N`; the same for every_ms."""
    text = value if isinstance(value, str) else ""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, number),) = value.items()
        text = f"{kind}:{number}"
    try:
        policy = FsyncPolicy.parse(text)
    except ValueError:
        policy = None
    if policy is None or policy.n > _LARGEST_FSYNC_NUMBER:
        raise ValueError(
            "one of every_write, {every_n: N}, {every_ms: N} or never, in a variable also "
            f"every_n:N or every_ms:N, with N from 1 to {_LARGEST_FSYNC_NUMBER}"
        )
    return policy


def token_hash(value: object) -> str:
    """One SHA-256 in hexadecimal, in lower case; the error does not repeat what was given."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _SHA256.fullmatch(text):
        raise ValueError("the SHA-256 of a token in 64 hexadecimal digits")
    return text


def token_hashes(value: object) -> tuple[str, ...]:
    """A list of hashes."""
    if not isinstance(value, list):
        raise ValueError("a list of SHA-256 hashes in 64 hexadecimal digits each")
    return tuple(token_hash(one) for one in value)
