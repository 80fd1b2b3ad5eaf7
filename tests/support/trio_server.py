"""The server on trio, over anyio streams: `python -m trio_server`, options as rstmdb-server."""

from __future__ import annotations

import functools
import sys
from typing import Any, cast

import anyio

import rstmdb_server.main as server_main

run = anyio.run


def run_on_trio(function: Any, *args: Any, **_options: Any) -> Any:
    """anyio.run, but on trio whatever was asked for."""
    return run(functools.partial(function), *args, backend="trio")


if __name__ == "__main__":
    anyio.run = cast(Any, run_on_trio)
    sys.exit(server_main.main())
