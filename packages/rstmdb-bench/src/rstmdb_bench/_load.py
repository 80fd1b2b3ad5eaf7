"""A run: the server prepared, then loaded from one process or several."""

from __future__ import annotations

import multiprocessing
import secrets
import select
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Final

from ._closed_loop import ClosedLoop
from ._connect import Address, Session, allow_files, prepare
from ._errors import BenchError
from ._frames import FrameSource
from ._loop import Connection, Timing
from ._open_loop import OpenLoop
from ._result import LoadResult
from ._workload import Shape, Workload, answer_bytes

__all__ = ["LoadSettings", "run_load"]

OTHER_FILES: Final = 64
STAGGER: Final = 1 << 40
"""Sequence numbers of processes begin this far apart, so that no created id comes twice."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What a run does. `connections` and `rate_per_second` are sums over the processes.

    With `rate_per_second` the loop is open: requests arrive at that rate, `in_flight` counts for
    nothing. Without it is closed: each connection keeps `in_flight` requests unanswered.
    `prepared` says that the server has the machine and the instances already.
    """

    address: Address
    workload: Workload
    connections: int
    in_flight: int
    seconds: float
    warmup_seconds: float
    shape: Shape = field(default_factory=Shape)
    processes: int = 1
    rate_per_second: float | None = None
    interval_seconds: float = 0.25
    prepared: bool = False
    token: str | None = field(default=None, repr=False)


def run_load(settings: LoadSettings) -> LoadResult:
    """Prepare the server, then run the workload from one process or several.

    Raises BenchError.
    """
    shape = settings.shape.for_workload(settings.workload)
    if settings.workload is Workload.CREATE:
        # Ids that no earlier run has used.
        shape = replace(shape, prefix=f"{shape.prefix}-{secrets.token_hex(4)}")
    settings = replace(settings, shape=shape)
    if settings.workload is not Workload.PING and not settings.prepared:
        prepare(settings.address, settings.token, settings.workload, shape)
    processes = min(settings.processes, settings.connections)
    if processes == 1:
        return _drive(settings, 0, 1, None)
    return _run_processes(settings, processes)


def _drive(
    settings: LoadSettings, number: int, processes: int, barrier: Barrier | None
) -> LoadResult:
    connections: list[Connection] = []
    in_flight = settings.in_flight if settings.rate_per_second is None else 1
    allow_files(settings.connections + OTHER_FILES)
    poll = select.epoll()
    try:
        source = FrameSource(
            settings.workload, settings.shape, in_flight=in_flight, start=number * STAGGER
        )
        for _ in range(settings.connections):
            connections.append(Connection(Session(settings.address, settings.token)))  # noqa: PERF401 (a failure closes those before it)
        if barrier is not None:
            barrier.wait()
        timing = Timing(settings.warmup_seconds, settings.seconds, settings.interval_seconds)
        if settings.rate_per_second is None:
            room = answer_bytes(settings.workload, settings.shape)
            return ClosedLoop(poll, connections, source, timing, in_flight, room).run()
        phase = number / processes
        return OpenLoop(poll, connections, source, timing, settings.rate_per_second, phase).run()
    finally:
        poll.close()
        for connection in connections:
            connection.session.close()


def _run_processes(settings: LoadSettings, processes: int) -> LoadResult:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    workers = []
    for number in range(processes):
        receiver, sender = context.Pipe(duplex=False)
        share = _share(settings, number, processes)
        worker = context.Process(target=_work, args=(share, number, processes, barrier, sender))
        worker.start()
        sender.close()
        workers.append((worker, receiver))
    outcomes: list[LoadResult | str | None] = []
    for worker, receiver in workers:
        try:
            outcomes.append(receiver.recv())
        except EOFError:
            outcomes.append("a process of the load generator died")
        worker.join()
    problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if problems:
        raise BenchError(problems[0])
    first, *others = (outcome for outcome in outcomes if isinstance(outcome, LoadResult))
    for other in others:
        first.merge(other)
    return first


def _share(settings: LoadSettings, number: int, processes: int) -> LoadSettings:
    """What one of the processes does."""
    connections = settings.connections // processes + (number < settings.connections % processes)
    rate = settings.rate_per_second
    return replace(
        settings,
        connections=connections,
        rate_per_second=None if rate is None else rate / processes,
    )


def _work(
    settings: LoadSettings, number: int, processes: int, barrier: Barrier, sender: Pipe
) -> None:
    """One process: its result, the text of its problem, or None when another one failed."""
    try:
        sender.send(_drive(settings, number, processes, barrier))
    except BenchError as error:
        barrier.abort()
        sender.send(str(error))
    except (BrokenBarrierError, KeyboardInterrupt):
        barrier.abort()
        sender.send(None)
