"""What a call costs its client, and what a short-lived client costs: `nox -s client-overhead`.

One connection, one call at a time, against a real server. The floor is a bare socket that sends
the same request, encoded beforehand and without an idempotency key, and waits for as many bytes
as the answer has: no client can do with less. Rounds alternate between the clients, and of each
the best round counts, since whatever else the machine does only ever adds. CPU is that of the
client's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import rstmdb_protocol as rcp
from rstmdb_client import Client, SyncClient
from rstmdb_server.testing import ServerProcess

LOOP: dict[str, Any] = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "TICK", "to": "on"}],
}
WORKLOADS: dict[str, tuple[str, rcp.Message]] = {
    "ping": ("PING", rcp.NoParams()),
    "get": ("GET_INSTANCE", rcp.GetInstanceParams("i")),
    "apply": ("APPLY_EVENT", rcp.ApplyEventParams("i", "TICK", {"n": 1})),
}

Round = Callable[[str, int], tuple[float, float]]
"""Make a number of calls; CPU seconds and seconds."""


@contextmanager
def measured(into: list[float]) -> Iterator[None]:
    """Append CPU seconds and seconds of the block."""
    cpu, began = time.process_time(), time.perf_counter()
    yield
    into += [time.process_time() - cpu, time.perf_counter() - began]


def raw_round(stream: socket.socket, workload: str, calls: int) -> tuple[float, float]:
    """The floor: the same bytes, unread."""
    connection = rcp.ClientConnection()
    _, data = connection.request(*WORKLOADS[workload])
    stream.sendall(data)
    size = len(stream.recv(65536))
    spent: list[float] = []
    with measured(spent):
        for _ in range(calls):
            stream.sendall(data)
            got = 0
            while got < size:
                got += len(stream.recv(65536))
    return spent[0], spent[1]


def sync_round(db: SyncClient, workload: str, calls: int) -> tuple[float, float]:
    """SyncClient."""
    call: Callable[[], object] = {
        "ping": db.ping,
        "get": lambda: db.get_instance("i"),
        "apply": lambda: db.apply_event("i", "TICK", {"n": 1}),
    }[workload]
    spent: list[float] = []
    with measured(spent):
        for _ in range(calls):
            call()
    return spent[0], spent[1]


def async_round(
    url: str, loop_factory: Callable[[], Any] | None, workload: str, calls: int
) -> tuple[float, float]:
    """Client, on one kind of event loop; connecting does not count."""

    async def run() -> tuple[float, float]:
        async with Client.from_url(url) as db:
            call: Callable[[], Awaitable[object]] = {
                "ping": db.ping,
                "get": lambda: db.get_instance("i"),
                "apply": lambda: db.apply_event("i", "TICK", {"n": 1}),
            }[workload]
            spent: list[float] = []
            with measured(spent):
                for _ in range(calls):
                    await call()
        return spent[0], spent[1]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(run())


def show_calls(server: ServerProcess, calls: int, rounds: int) -> None:
    """The table of calls."""
    url = f"rstmdb://{server.address}"
    with SyncClient.from_url(url) as db, server.connect() as stream:
        db.put_machine("loop", 1, LOOP)
        db.create_instance("loop", 1, instance_id="i")
        ways: dict[str, Round] = {
            "bare socket": partial(raw_round, stream),
            "SyncClient": partial(sync_round, db),
            "Client, asyncio": partial(async_round, url, None),
        }
        if find_spec("uvloop"):
            import uvloop

            ways["Client, uvloop"] = partial(async_round, url, uvloop.new_event_loop)
        print(f"{'workload':<10}{'client':<18}{'CPU us/call':>12}{'calls/s':>10}{'/ floor':>9}")
        for workload in WORKLOADS:
            results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, run in ways.items():
                    results[name].append(run(workload, calls))
            floor = min(seconds for _, seconds in results["bare socket"])
            for name, spent in results.items():
                cpu, seconds = (min(column) for column in zip(*spent, strict=True))
                print(
                    f"{workload:<10}{name:<18}{cpu / calls * 1e6:>12.1f}"
                    f"{calls / seconds:>10,.0f}{floor / seconds:>9.2f}"
                )


def show_start_up(server: ServerProcess, folder: Path, runs: int) -> None:
    """What it costs to start, ask and end: CPU of whole processes, their bytecode in place."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "RSTMDB_SERVER": server.address}
    ping = (
        "from rstmdb_client import SyncClient\n"
        f"with SyncClient.from_url('rstmdb://{server.address}') as db: db.ping()"
    )
    commands = {
        "python -c pass": ["-c", "pass"],
        "import rstmdb_client": ["-c", "import rstmdb_client"],
        "SyncClient ping": ["-c", ping],
        "rstmdb-cli ping": ["-m", "rstmdb_cli", "ping"],
    }
    best: dict[str, float] = {}
    for _ in range(runs):
        for name, arguments in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *arguments], check=True, env=env, stdout=subprocess.DEVNULL
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            best[name] = min(cpu, best.get(name, cpu))
    print(f"\n{'process':<28}{'CPU ms':>12}{'/ pass':>19}")
    for name, cpu in best.items():
        print(f"{name:<28}{cpu * 1e3:>12.1f}{cpu / best['python -c pass']:>19.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="in each round")
    parser.add_argument("--rounds", type=int, default=7, help="of each client")
    parser.add_argument("--starts", type=int, default=15, help="of each process")
    options = parser.parse_args()
    # Without syncs, so that it is the client that is measured and not the disk.
    env = {"RSTMDB_FSYNC_POLICY": "never"}
    with (
        tempfile.TemporaryDirectory(prefix="rstmdb-bench-") as folder,
        ServerProcess(Path(folder), env) as server,
    ):
        show_calls(server, options.calls, options.rounds)
        show_start_up(server, Path(folder), options.starts)


if __name__ == "__main__":
    main()
