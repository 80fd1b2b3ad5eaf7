"""What is measured, and what measures it: a complete server, and rstmdb-bench as a process.

Every server here syncs every write and has metrics on, which is what the goals ask for.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rstmdb_bench._connect import DEFINITION
from rstmdb_bench._workload import MACHINE, Shape, Workload, initial_ctx
from rstmdb_server import testing
from rstmdb_server.testing import ServerProcess
from rstmdb_storage import CompactionOptions, Database, FsyncPolicy, LogOptions, StorageOptions

__all__ = ["Subject", "bench", "context_bytes", "fill"]

START_TIMEOUT_SECS = 300.0
"""A million records have to be recovered on a machine that may be busy."""


class Subject:
    """A server under measurement: `with Subject(folder) as server`."""

    def __init__(self, folder: Path, **env: str) -> None:
        testing.START_TIMEOUT_SECS = START_TIMEOUT_SECS
        folder.mkdir(parents=True, exist_ok=True)
        metrics = f"127.0.0.1:{_free_port()}"
        self.metrics_url = f"http://{metrics}/metrics"
        self.process = ServerProcess(
            folder,
            {
                "RSTMDB_METRICS_ENABLED": "true",
                "RSTMDB_METRICS_BIND": metrics,
                "RSTMDB_FSYNC_POLICY": "every_write",
                **env,
            },
        )

    @property
    def address(self) -> str:
        """host:port."""
        return self.process.address

    @property
    def folder(self) -> Path:
        """On the disk that the server writes to."""
        return self.process.folder

    def memory_bytes(self, name: str = "VmRSS") -> int:
        """Resident memory now, or with VmHWM the most it has been."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"no {name} in /proc")

    def recovery(self) -> tuple[int, float]:
        """How many records the last start read, and the seconds it took, from the log."""
        line = next(line for line in reversed(self.process.log_lines()) if "recovered" in line)
        words = json.loads(line)["message"].split()
        return int(words[1]), float(words[words.index("in") + 1])

    def restart(self) -> None:
        """Stop as asked, start again."""
        self.process.stop()
        self.process.start()

    def __enter__(self) -> Subject:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def bench(command: str, *arguments: str) -> dict[str, Any]:
    """Run rstmdb-bench and read its result. Raises RuntimeError with what it wrote."""
    done = subprocess.run(
        [sys.executable, "-m", "rstmdb_bench", command, *arguments, "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"rstmdb-bench {command} {' '.join(arguments)}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def fill(folder: Path, instances: int, events: int = 0) -> float:
    """Create the instances of a workload with the embedded database; how many a second.

    One record each, as a server writes them, then `events` of those instances in turn.
    """
    shape = Shape(instances=instances)
    options = StorageOptions(
        log=LogOptions(policy=FsyncPolicy.never()), compaction=CompactionOptions(enabled=False)
    )
    with Database.open(folder, options) as db:
        db.put_machine(MACHINE, 1, DEFINITION)
        began = time.perf_counter()
        for number in range(instances):
            db.create_instance(
                MACHINE,
                1,
                instance_id=f"{shape.prefix}-{number}",
                initial_ctx=initial_ctx(Workload.APPLY, shape, number),
            )
        rate = instances / (time.perf_counter() - began)
        for number in range(events):
            instance_id = f"{shape.prefix}-{number % instances}"
            db.apply_event(instance_id, "NEXT", {"step": number, "who": "load"})
        return rate


def context_bytes(instances: int) -> float:
    """The mean length of those instances' contexts as JSON without spaces."""
    shape = Shape(instances=instances)
    sample = range(0, instances, max(1, instances // 1000))
    sizes = [
        len(json.dumps(initial_ctx(Workload.APPLY, shape, number), separators=(",", ":")))
        for number in sample
    ]
    return sum(sizes) / len(sizes)
