"""The async client, on anyio: asyncio and trio."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

import rstmdb_protocol as rcp

from . import _async_wait
from ._async_watch import AsyncWatch
from ._batch import BatchBuilder
from ._calls import Call, Calls, Raw
from ._errors import ConnectFailed, ConnectionLost, ServerError
from ._link import Link
from ._pipe import Pipe
from ._retry import Attempts, Retries
from ._url import Target
from ._wait import Decide, Reached, Wait
from ._watch import WatchRequest

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """An async client: one connection, any number of calls at once.

    Used as an async context manager, which connects, and owns the connection's tasks. A
    broken connection is opened again; calls that may be sent twice are (see Target).

    Every operation raises ServerError for a refusal, RequestTimeout, ConnectFailed and
    ConnectionLost when trying again has not helped, OutcomeUnknown for a write without an
    idempotency key whose answer was lost, and RequestTooLarge.
    """

    def __init__(
        self,
        target: Target | None = None,
        *,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._target = target or Target()
        self._calls = Calls(auto_keys=self._target.idempotency == "auto")
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._opening = anyio.Lock()
        self._attempts = Attempts()
        self._attempt: anyio.CancelScope | None = None
        self._epoch = object()
        """A new one with every `close`: calls of an older one are not sent again."""
        self._link: Link | None = None
        self._tasks: TaskGroup | None = None
        self._watches: set[AsyncWatch] = set()

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> Client:
        """A client for a URL; `overrides` are fields of Target. Raises ValueError."""
        return cls(Target.parse(url, **overrides))

    async def __aenter__(self) -> Client:
        """Connect, without trying again. Raises ConnectFailed, AuthFailedError."""
        if self._tasks is not None:
            raise RuntimeError("the client is in use already")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            await self.connect()
        except BaseException:
            tasks, self._tasks = self._tasks, None
            await _end(tasks)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection and the watches, and end all tasks."""
        tasks, self._tasks = self._tasks, None
        await self.close()
        for watch in list(self._watches):
            await watch.aclose()
        if tasks is not None:
            await _end(tasks)

    async def connect(self) -> None:
        """Open the connection if it is not. Raises ConnectFailed, AuthFailedError."""
        await self._connected(self._epoch)

    async def close(self) -> None:
        """Close the connection; the next call opens another one. Watches go on.

        Calls in flight raise ConnectionLost, or OutcomeUnknown.
        """
        self._epoch = object()
        if self._attempt is not None:
            self._attempt.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close()

    @property
    def hello(self) -> rcp.HelloResult | None:
        """What the latest HELLO agreed on: server version, wire mode, features."""
        return None if self._link is None else self._link.hello

    async def _connected(self, epoch: object) -> Link:
        """The connection; a new one where the old one broke."""
        link = self._link
        if link is not None and link.lost is None:
            return link
        waiting_since = time.monotonic()
        async with self._opening:
            if self._link is not None and self._link.lost is None:
                return self._link
            if epoch is self._epoch:
                tasks = self._tasks
                if tasks is None:
                    raise RuntimeError("use the client in `async with`")
                with self._attempts.attempt(waiting_since), anyio.CancelScope() as self._attempt:
                    pipe = await Pipe.open(self._target)
                    if epoch is self._epoch:
                        self._link = Link(pipe)
                        tasks.start_soon(self._link.run)
                        return self._link
                    await pipe.aclose()
            raise ConnectionLost("the client was closed", sent=False)

    async def _run(self, call: Call[T]) -> T:
        """Ask, and ask again where that is safe and there is time."""
        epoch = self._epoch
        retries: Retries | None = None
        while True:
            try:
                link = await self._connected(epoch)
                answer = await link.ask(call.op, call.params, self._target.request_timeout)
                return call.read(answer)
            except (ServerError, ConnectFailed, ConnectionLost) as problem:
                retries = retries or Retries(
                    call.op, call.repeatable, self._target.retry_timeout, self._rng
                )
                pause = retries.pause_secs(problem)
                if epoch is self._epoch:
                    await self._sleep(pause)
                if epoch is not self._epoch:
                    raise

    def _watch(self, request: WatchRequest) -> AsyncWatch:
        return AsyncWatch(self._target, request, self._rng, self._sleep, self._watches)

    # -- operations: see docs/reference/wire-protocol ------------------------------------------

    async def call(self, op: str, params: Raw | None = None) -> Raw:
        """Any operation by name; the result exactly as the protocol has it.

        Raises ValueError for HELLO and BYE, which are the client's own to say.
        """
        return await self._run(self._calls.raw(op, params or {}))

    async def ping(self) -> rcp.PingResult:
        """Whether the server is alive."""
        return await self._run(self._calls.ping())

    async def info(self) -> rcp.InfoResult:
        """Facts about the server."""
        return await self._run(self._calls.info())

    async def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> rcp.PutMachineResult:
        """Register a definition; the same again is no error."""
        return await self._run(self._calls.put_machine(machine, version, definition, checksum))

    async def get_machine(self, machine: str, version: int | None = None) -> rcp.GetMachineResult:
        """One version of a machine, the newest when none is named."""
        return await self._run(self._calls.get_machine(machine, version))

    async def list_machines(
        self, limit: int | None = None, offset: int | None = None
    ) -> rcp.ListMachinesResult:
        """Machines and their versions, sorted by name."""
        return await self._run(self._calls.list_machines(limit, offset))

    async def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: Raw | None = None,
        idempotency_key: str | None = None,
    ) -> rcp.CreateInstanceResult:
        """Create an instance in its machine's initial state."""
        return await self._run(
            self._calls.create_instance(machine, version, instance_id, initial_ctx, idempotency_key)
        )

    async def get_instance(self, instance_id: str) -> rcp.GetInstanceResult:
        """An instance as it is."""
        return await self._run(self._calls.get_instance(instance_id))

    async def list_instances(
        self,
        *,
        machine: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
    ) -> rcp.ListInstancesResult:
        """A page of instances."""
        return await self._run(self._calls.list_instances(machine, state, limit, offset, after))

    async def instances(
        self, *, machine: str | None = None, state: str | None = None, page: int = 1000
    ) -> AsyncIterator[rcp.InstanceSummary]:
        """All instances that match, read page by page."""
        after = None
        while True:
            found = await self.list_instances(machine=machine, state=state, limit=page, after=after)
            for one in found.instances:
                yield one
            if not found.has_more:
                return
            after = found.instances[-1].id

    async def delete_instance(
        self, instance_id: str, *, idempotency_key: str | None = None
    ) -> rcp.DeleteInstanceResult:
        """Delete an instance."""
        return await self._run(self._calls.delete_instance(instance_id, idempotency_key))

    async def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: Raw | None = None,
        *,
        expected_state: str | None = None,
        expected_wal_offset: int | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> rcp.ApplyEventResult:
        """Apply an event."""
        return await self._run(
            self._calls.apply_event(
                instance_id,
                event,
                payload,
                expected_state,
                expected_wal_offset,
                event_id,
                idempotency_key,
            )
        )

    async def wait_for_state(
        self,
        instance_id: str,
        states: str | Collection[str],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (as in SyncClient; the exception tells more)
    ) -> Reached:
        """Wait until an instance reaches a state, or one of several; at once if it is there.

        No state is missed: a watch begins before the first look, and it sees states that are
        left again as well. Raises WaitTimeout after `timeout` seconds (None: never), ValueError
        for states that the machine has not, InstanceNotFoundError, and WatchEnded where the
        instance is deleted meanwhile.
        """
        wait = Wait(instance_id, states)
        watch = self.watch_instance(instance_id, include_ctx=False)
        retries = Retries("WATCH_INSTANCE", True, self._target.retry_timeout, self._rng)
        return await _async_wait.wait_for_state(self, wait, watch, timeout, retries, self._sleep)

    async def decide_and_apply(
        self, instance_id: str, decide: Decide, *, attempts: int = 16
    ) -> rcp.ApplyEventResult | None:
        """Apply the event that `decide` chooses for the instance as it is, and only then.

        `decide` gets the instance and returns an event, an event and its payload, or None for
        nothing to be done, which is then the result here, too. Where another writer changed the
        instance in between, it is asked again, after a short pause drawn at random, `attempts`
        times at most; so it should have no effects of its own. Raises ConflictError when all
        attempts have met a conflict, and what `decide` raises.
        """
        return await _async_wait.decide_and_apply(
            self, instance_id, decide, attempts, self._rng, self._sleep
        )

    @asynccontextmanager
    async def batch(self, *, atomic: bool = False) -> AsyncIterator[BatchBuilder]:
        """Collect operations in a block and run them as one when it ends.

        With `atomic` all of them or none: the refusal of one is raised, with `index` and `op`
        in its details. Otherwise each stands alone, and refusals are among the `results`.
        """
        builder = BatchBuilder(self._calls, atomic=atomic)
        yield builder
        call = builder.request()
        if call is not None:
            builder.take(await self._run(call))

    async def call_batch(
        self, ops: Sequence[Mapping[str, Any]], mode: str = "best_effort"
    ) -> rcp.BatchResult:
        """Run operations as they are on the wire: `op`, and `params` where it has any."""
        return await self._run(self._calls.call_batch(ops, mode))

    async def wal_read(self, from_offset: int = 0, limit: int | None = None) -> rcp.WalReadResult:
        """A page of the log."""
        return await self._run(self._calls.wal_read(from_offset, limit))

    async def wal_records(self, from_offset: int = 0) -> AsyncIterator[rcp.WalRecord]:
        """All records from an offset up to the head as it is when that is reached."""
        while page := await self.wal_read(from_offset, 1000):
            if not page.records:
                return
            for record in page.records:
                yield record
            from_offset = page.next_offset

    async def wal_stats(self) -> rcp.WalStatsResult:
        """Size and position of the log."""
        return await self._run(self._calls.wal_stats())

    async def snapshot_instance(self, instance_id: str) -> rcp.SnapshotInstanceResult:
        """Write one instance out as a snapshot."""
        return await self._run(self._calls.snapshot_instance(instance_id))

    async def compact(self, *, force_snapshot: bool = False) -> rcp.CompactResult:
        """Take a snapshot and delete the log segments before it."""
        return await self._run(self._calls.compact(force_snapshot))

    async def backup(self, name: str | None = None) -> rcp.BackupResult:
        """Make a verified copy in the server's backup directory."""
        return await self._run(self._calls.backup(name))

    async def flush_all(self) -> rcp.FlushAllResult:
        """Empty the database, where the server allows it."""
        return await self._run(self._calls.flush_all())

    async def unwatch(self, subscription_id: str) -> rcp.UnwatchResult:
        """End a subscription that was begun with `call`; a watch is ended by its own close."""
        return await self._run(self._calls.unwatch(subscription_id))

    def watch_instance(
        self, instance_id: str, *, include_ctx: bool = True, from_offset: int | None = None
    ) -> AsyncWatch:
        """Watch one instance, on a connection of its own."""
        request = WatchRequest.instance(instance_id, include_ctx, from_offset)
        return self._watch(request)

    def watch_all(
        self,
        *,
        machines: Sequence[str] | None = None,
        from_states: Sequence[str] | None = None,
        to_states: Sequence[str] | None = None,
        events: Sequence[str] | None = None,
        include_ctx: bool = True,
        from_offset: int | None = None,
    ) -> AsyncWatch:
        """Watch all instances that pass the filters, on a connection of its own."""
        request = WatchRequest.all(
            machines, from_states, to_states, events, include_ctx, from_offset
        )
        return self._watch(request)


async def _end(tasks: TaskGroup) -> None:
    tasks.cancel_scope.cancel()
    await tasks.__aexit__(None, None, None)
