"""The blocking client: one socket, no event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import rstmdb_protocol as rcp

from . import _sync_wait
from ._batch import BatchBuilder
from ._calls import Call, Calls, Raw
from ._errors import ConnectFailed, ConnectionLost, RequestTimeout, RequestTooLarge, ServerError
from ._fork import forget_in_children
from ._retry import Attempts, Retries
from ._sync_pipe import SyncPipe
from ._sync_watch import SyncWatch
from ._url import Target
from ._wait import Decide, Reached, Wait
from ._watch import WatchRequest

if TYPE_CHECKING:
    import random

__all__ = ["SyncClient"]

T = TypeVar("T")


class SyncClient:
    """A blocking client. Threads may share it; their calls go one after the other.

    Connects when it is entered, or at the first call, and once more in a process that is forked
    from this one, which may use it as well. A broken connection is opened again;
    calls that may be sent twice are (see Target).

    Every operation raises ServerError for a refusal, RequestTimeout, ConnectFailed and
    ConnectionLost when trying again has not helped, OutcomeUnknown for a write without an
    idempotency key whose answer was lost, and RequestTooLarge.
    """

    def __init__(
        self,
        target: Target | None = None,
        *,
        rng: random.Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target or Target()
        self._calls = Calls(auto_keys=self._target.idempotency == "auto")
        self._given_rng = rng
        self._sleep = sleep
        self._lock = threading.Lock()
        self._attempts = Attempts()
        self._epoch = object()
        """A new one with every `close`: calls of an older one are not sent again."""
        self._pipe: SyncPipe | None = None
        self._watches: set[SyncWatch] = set()
        forget_in_children(self)

    def _forget(self) -> None:
        """Called in a child process: the connection is its parent's."""
        self._lock = threading.Lock()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.abandon()

    @property
    def _rng(self) -> random.Random:
        if self._given_rng is None:
            import random  # late: the pauses are drawn from it, and most programs never pause

            self._given_rng = random.Random()
        return self._given_rng

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> SyncClient:
        """A client for a URL; `overrides` are fields of Target. Raises ValueError."""
        return cls(Target.parse(url, **overrides))

    def connect(self) -> None:
        """Open the connection if it is not. Raises ConnectFailed, AuthFailedError."""
        waiting_since = time.monotonic()
        with self._lock:
            self._connected(waiting_since)

    def close(self) -> None:
        """Close the connection; the next call opens another one. Watches go on.

        Calls that are in flight in other threads raise ConnectionLost, or OutcomeUnknown. A
        connection that is just being opened is waited for.
        """
        self._epoch = object()
        pipe = self._pipe
        if pipe is not None:
            pipe.shut()
        with self._lock:
            self._drop()

    def __enter__(self) -> SyncClient:
        """Connect, without trying again."""
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection and the watches."""
        self.close()
        for watch in list(self._watches):
            watch.close()

    @property
    def hello(self) -> rcp.HelloResult | None:
        """What HELLO agreed on: server version, wire mode, features; None if not connected."""
        pipe = self._pipe
        return None if pipe is None else pipe.hello

    def _connected(self, waiting_since: float) -> SyncPipe:
        if self._pipe is not None and self._pipe.is_shut:
            self._drop()
        if self._pipe is None:
            with self._attempts.attempt(waiting_since):
                self._pipe = SyncPipe.open(self._target)
        return self._pipe

    def _drop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _run(self, call: Call[T]) -> T:
        """Ask, and ask again where that is safe and there is time."""
        epoch = self._epoch
        retries: Retries | None = None
        while True:
            try:
                return call.read(self._ask(call, epoch))
            except (ServerError, ConnectFailed, ConnectionLost) as problem:
                retries = retries or Retries(
                    call.op, call.repeatable, self._target.retry_timeout, self._rng
                )
                pause = retries.pause_secs(problem)
                if epoch is self._epoch:
                    self._sleep(pause)
                if epoch is not self._epoch:
                    raise

    def _ask(self, call: Call[Any], epoch: object) -> rcp.ResponseMessage:
        waiting_since = time.monotonic()
        with self._lock:
            if epoch is self._epoch:
                pipe = self._connected(waiting_since)
                if not call.repeatable and pipe.has_ended():
                    self._drop()
                    pipe = self._connected(waiting_since)
            if epoch is not self._epoch:
                raise ConnectionLost("the client was closed", sent=False)
            try:
                return pipe.ask(call.op, call.params, self._target.request_timeout)
            except (RequestTimeout, RequestTooLarge, TypeError):
                raise  # the connection is as good as before; a late answer is dropped
            except BaseException:
                # Broken, or interrupted: a part of a message may be lost.
                self._drop()
                raise

    def _watch(self, request: WatchRequest) -> SyncWatch:
        return SyncWatch(self._target, request, self._rng, self._sleep, self._watches)

    # -- operations: see docs/reference/wire-protocol ------------------------------------------

    def call(self, op: str, params: Raw | None = None) -> Raw:
        """Any operation by name; the result exactly as the protocol has it.

        Raises ValueError for HELLO and BYE, which are the client's own to say.
        """
        return self._run(self._calls.raw(op, params or {}))

    def ping(self) -> rcp.PingResult:
        """Whether the server is alive."""
        return self._run(self._calls.ping())

    def info(self) -> rcp.InfoResult:
        """Facts about the server."""
        return self._run(self._calls.info())

    def put_machine(
        self,
        machine: str,
        version: int,
        definition: Mapping[str, Any],
        checksum: str | None = None,
    ) -> rcp.PutMachineResult:
        """Register a definition; the same again is no error."""
        return self._run(self._calls.put_machine(machine, version, definition, checksum))

    def get_machine(self, machine: str, version: int | None = None) -> rcp.GetMachineResult:
        """One version of a machine, the newest when none is named."""
        return self._run(self._calls.get_machine(machine, version))

    def list_machines(
        self, limit: int | None = None, offset: int | None = None
    ) -> rcp.ListMachinesResult:
        """Machines and their versions, sorted by name."""
        return self._run(self._calls.list_machines(limit, offset))

    def create_instance(
        self,
        machine: str,
        version: int,
        *,
        instance_id: str | None = None,
        initial_ctx: Raw | None = None,
        idempotency_key: str | None = None,
    ) -> rcp.CreateInstanceResult:
        """Create an instance in its machine's initial state."""
        return self._run(
            self._calls.create_instance(machine, version, instance_id, initial_ctx, idempotency_key)
        )

    def get_instance(self, instance_id: str) -> rcp.GetInstanceResult:
        """An instance as it is."""
        return self._run(self._calls.get_instance(instance_id))

    def list_instances(
        self,
        *,
        machine: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
    ) -> rcp.ListInstancesResult:
        """A page of instances."""
        return self._run(self._calls.list_instances(machine, state, limit, offset, after))

    def instances(
        self, *, machine: str | None = None, state: str | None = None, page: int = 1000
    ) -> Iterator[rcp.InstanceSummary]:
        """All instances that match, read page by page."""
        after = None
        while True:
            found = self.list_instances(machine=machine, state=state, limit=page, after=after)
            yield from found.instances
            if not found.has_more:
                return
            after = found.instances[-1].id

    def delete_instance(
        self, instance_id: str, *, idempotency_key: str | None = None
    ) -> rcp.DeleteInstanceResult:
        """Delete an instance."""
        return self._run(self._calls.delete_instance(instance_id, idempotency_key))

    def apply_event(
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
        return self._run(
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

    def wait_for_state(
        self, instance_id: str, states: str | Collection[str], *, timeout: float | None = None
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
        return _sync_wait.wait_for_state(self, wait, watch, timeout, retries, self._sleep)

    def decide_and_apply(
        self, instance_id: str, decide: Decide, *, attempts: int = 16
    ) -> rcp.ApplyEventResult | None:
        """Apply the event that `decide` chooses for the instance as it is, and only then.

        `decide` gets the instance and returns an event, an event and its payload, or None for
        nothing to be done, which is then the result here, too. Where another writer changed the
        instance in between, it is asked again, after a short pause drawn at random, `attempts`
        times at most; so it should have no effects of its own. Raises ConflictError when all
        attempts have met a conflict, and what `decide` raises.
        """
        return _sync_wait.decide_and_apply(
            self, instance_id, decide, attempts, self._rng, self._sleep
        )

    @contextmanager
    def batch(self, *, atomic: bool = False) -> Iterator[BatchBuilder]:
        """Collect operations in a block and run them as one when it ends.

        With `atomic` all of them or none: the refusal of one is raised, with `index` and `op`
        in its details. Otherwise each stands alone, and refusals are among the `results`.
        """
        builder = BatchBuilder(self._calls, atomic=atomic)
        yield builder
        call = builder.request()
        if call is not None:
            builder.take(self._run(call))

    def call_batch(
        self, ops: Sequence[Mapping[str, Any]], mode: str = "best_effort"
    ) -> rcp.BatchResult:
        """Run operations as they are on the wire: `op`, and `params` where it has any."""
        return self._run(self._calls.call_batch(ops, mode))

    def wal_read(self, from_offset: int = 0, limit: int | None = None) -> rcp.WalReadResult:
        """A page of the log."""
        return self._run(self._calls.wal_read(from_offset, limit))

    def wal_records(self, from_offset: int = 0) -> Iterator[rcp.WalRecord]:
        """All records from an offset up to the head as it is when that is reached."""
        while page := self.wal_read(from_offset, 1000):
            if not page.records:
                return
            yield from page.records
            from_offset = page.next_offset

    def wal_stats(self) -> rcp.WalStatsResult:
        """Size and position of the log."""
        return self._run(self._calls.wal_stats())

    def snapshot_instance(self, instance_id: str) -> rcp.SnapshotInstanceResult:
        """Write one instance out as a snapshot."""
        return self._run(self._calls.snapshot_instance(instance_id))

    def compact(self, *, force_snapshot: bool = False) -> rcp.CompactResult:
        """Take a snapshot and delete the log segments before it."""
        return self._run(self._calls.compact(force_snapshot))

    def backup(self, name: str | None = None) -> rcp.BackupResult:
        """Make a verified copy in the server's backup directory."""
        return self._run(self._calls.backup(name))

    def flush_all(self) -> rcp.FlushAllResult:
        """Empty the database, where the server allows it."""
        return self._run(self._calls.flush_all())

    def unwatch(self, subscription_id: str) -> rcp.UnwatchResult:
        """End a subscription that was begun with `call`; a watch is ended by its own close."""
        return self._run(self._calls.unwatch(subscription_id))

    def watch_instance(
        self, instance_id: str, *, include_ctx: bool = True, from_offset: int | None = None
    ) -> SyncWatch:
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
    ) -> SyncWatch:
        """Watch all instances that pass the filters, on a connection of its own."""
        request = WatchRequest.all(
            machines, from_states, to_states, events, include_ctx, from_offset
        )
        return self._watch(request)
