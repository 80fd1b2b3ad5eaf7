"""Floors of this machine, measured in the same run as the server.

E is the rate of an echo in the same language over the same transport, in a process of its
own; F is how often a second a disk takes a small write and syncs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from ._connect import Address
from ._echo import loop_name
from ._errors import BenchError
from ._load import LoadSettings, run_load
from ._result import LoadResult
from ._workload import Workload

__all__ = ["SYNC_BYTES", "echo_floor", "echo_server", "loop_name", "sync_floor"]

SYNC_BYTES: Final = 300


@contextmanager
def echo_server() -> Iterator[Address]:
    """An echo server in its own process, on a free port of the loopback; ended afterwards."""
    command = [sys.executable, "-m", "rstmdb_bench", "echo", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise BenchError("the echo server for the floor did not start")
            yield Address.parse(line.split()[-1])
        finally:
            process.terminate()


def echo_floor(settings: LoadSettings, seconds: float) -> LoadResult:
    """E: PING frames against the echo, with the client settings of the run."""
    with echo_server() as address:
        return run_load(
            replace(
                settings,
                address=address,
                workload=Workload.PING,
                seconds=seconds,
                rate_per_second=None,
                token=None,
            )
        )


def sync_floor(directory: Path, seconds: float) -> float:
    """F: appends of 300 bytes, each with its fdatasync, per second, in one file.

    Raises BenchError when the directory can't be written to.
    """
    block = os.urandom(SYNC_BYTES)
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            descriptor = file.fileno()
            count = 0
            started = time.perf_counter()
            stop = started + seconds
            while (now := time.perf_counter()) < stop or not count:
                os.pwrite(descriptor, block, count * SYNC_BYTES)
                os.fdatasync(descriptor)
                count += 1
            return count / (now - started)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchError(
            f"can't measure the disk in {directory}: {reason}; name another --floor-directory"
        ) from None
