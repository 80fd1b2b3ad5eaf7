"""The blocking client: one socket, no event loop."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeVar

import msgspec

import rstmdb_protocol as rcp

from ._batch import BatchBuilder
from ._calls import Call, Calls, Raw
from ._errors import ConnectFailed, ConnectionLost, OutcomeUnknown, RequestTimeout, server_error
from ._retry import backoff_secs
from ._url import Target
from ._watch import SyncWatch, WatchRequest

__all__ = ["SyncClient", "SyncLink"]

T = TypeVar("T")

RECEIVE_BYTES = 256 * 1024


class SyncLink:
    """One connection, greeted and authenticated. Not thread-safe."""

    def __init__(
        self, target: Target, features: Sequence[str] = (), client_name: str = "rstmdb-client"
    ) -> None:
        self._connection = rcp.ClientConnection()
        self._messages: Iterator[rcp.ServerMessage] = iter(())
        self._socket = self._dial(target)
        try:
            self._greet(target, features, client_name)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _dial(target: Target) -> socket.socket:
        problems = []
        for host, port in target.hosts:
            try:
                plain = socket.create_connection((host, port), target.connect_timeout)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                context = target.ssl_context()
                if context is None:
                    return plain
                try:
                    return context.wrap_socket(plain, server_hostname=target.server_name or host)
                except BaseException:
                    plain.close()
                    raise
            except (OSError, ssl.SSLError) as error:
                problems.append(f"{host}:{port}: {error}")
        raise ConnectFailed(f"can't connect to {'; '.join(problems)}")

    def _greet(self, target: Target, features: Sequence[str], client_name: str) -> None:
        wanted = [rcp.Feature.IDEMPOTENCY, rcp.Feature.BATCH, rcp.Feature.ZSTD, *features]
        request = self._connection.hello(client_name, wire_modes=target.modes, features=wanted)
        try:
            answers = [self._ask(*request, target.connect_timeout)]
            if target.token is not None and answers[0].error is None:
                auth = self._connection.request("AUTH", rcp.AuthParams(target.token, "bearer"))
                answers.append(self._ask(*auth, target.connect_timeout))
        except (ConnectionLost, RequestTimeout) as error:
            raise ConnectFailed(f"the server did not answer HELLO: {error}") from error
        for answer in answers:
            if answer.error is not None:
                raise server_error(answer.error)

    def ask(self, op: str, params: rcp.Message | Raw, timeout: float) -> rcp.ResponseMessage:
        """Send a request and wait for its answer. Raises ConnectionLost, RequestTimeout."""
        return self._ask(*self._connection.request(op, params), timeout)

    def _ask(self, request_id: str, data: bytes, timeout: float) -> rcp.ResponseMessage:
        deadline = time.monotonic() + timeout
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            self.close()  # half a request is out: nothing may follow it
            raise ConnectionLost(f"the request was not sent within {timeout} s") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error
        while True:
            message = self.receive(deadline)
            # An answer to an earlier request that timed out is dropped here.
            if isinstance(message, rcp.ResponseMessage) and message.id in (request_id, None):
                return message

    def receive(self, deadline: float | None) -> rcp.ServerMessage:
        """The next message. Raises RequestTimeout at the deadline, ConnectionLost."""
        while True:
            try:
                message = next(self._messages, None)
            except rcp.RemoteProtocolError as error:
                raise ConnectionLost(f"the server broke the protocol: {error}") from error
            if message is not None:
                return message
            self._fill(deadline)

    def _fill(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise RequestTimeout("no answer in time; whether a write was done is not known")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise RequestTimeout(
                "no answer in time; whether a write was done is not known"
            ) from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error
        if not data:
            raise ConnectionLost("the server closed the connection")
        self._connection.feed(data)
        self._messages = self._connection.messages()

    def close(self) -> None:
        """Close the socket; a receive on another thread returns."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class SyncClient:
    """A blocking client. Threads may share it; their calls go one after the other.

    Connects when it is entered, or at the first call. A broken connection is opened again;
    calls that may be sent twice are, for up to `retry_timeout` seconds (see Call).
    """

    def __init__(
        self,
        target: Target | None = None,
        *,
        auto_keys: bool = True,
        rng: random.Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target or Target()
        self._calls = Calls(auto_keys=auto_keys)
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._lock = threading.Lock()
        self._link: SyncLink | None = None

    @classmethod
    def from_url(cls, url: str, *, auto_keys: bool = True, **options: Any) -> SyncClient:
        """A client for a URL; `options` are the URL's own (see Target). Raises ValueError."""
        return cls(Target.parse(url, **options), auto_keys=auto_keys)

    def connect(self) -> None:
        """Connect now, without trying again. Raises ConnectFailed, AuthFailedError."""
        with self._lock:
            if self._link is None:
                self._link = SyncLink(self._target)

    def close(self) -> None:
        """Close the connection; the client may be used again."""
        with self._lock:
            self._drop()

    def __enter__(self) -> SyncClient:
        """Connect."""
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _run(self, call: Call[T]) -> T:
        answer = self._answer(call)
        return msgspec.json.decode(answer.result, type=call.result)

    def _answer(self, call: Call[Any]) -> rcp.ResponseMessage:
        """Ask, and ask again where that is safe and there is time."""
        give_up = time.monotonic() + self._target.retry_timeout
        pauses = backoff_secs(self._rng)
        with self._lock:
            while True:
                problem: Exception
                try:
                    answer = self._ask_once(call)
                    if answer.error is None:
                        return answer
                    problem = server_error(answer.error)
                    if not (answer.error.retryable and call.repeatable):
                        raise problem
                except (ConnectFailed, ConnectionLost) as error:
                    self._drop()
                    problem = error
                    if isinstance(error, OutcomeUnknown):
                        raise
                if time.monotonic() >= give_up:
                    raise problem
                self._sleep(next(pauses))

    def _ask_once(self, call: Call[Any]) -> rcp.ResponseMessage:
        if self._link is None:
            self._link = SyncLink(self._target)
        try:
            return self._link.ask(call.op, call.params, self._target.request_timeout)
        except ConnectionLost as error:
            if call.repeatable:
                raise
            raise OutcomeUnknown(
                f"{call.op}: {error}; it may have been done or not, and without an "
                "idempotency key it is not sent again"
            ) from error

    # -- operations: see docs/reference/wire-protocol ------------------------------------------

    def call(self, op: str, params: Raw | None = None) -> Raw:
        """Any operation by name; the result exactly as the protocol has it."""
        return self._run(self._calls.raw(op, params or {}))

    def ping(self) -> rcp.PingResult:
        """Whether the server is alive."""
        return self._run(self._calls.ping())

    def info(self) -> rcp.InfoResult:
        """Facts about the server."""
        return self._run(self._calls.info())

    def put_machine(
        self, machine: str, version: int, definition: Any, checksum: str | None = None
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

    @contextmanager
    def batch(self, *, atomic: bool = False) -> Iterator[BatchBuilder]:
        """Collect operations in a block and run them as one when it ends."""
        builder = BatchBuilder(self._calls, atomic=atomic)
        yield builder
        call = builder.call()
        if call is not None:
            builder.take(self._run(call))

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

    def watch_instance(
        self, instance_id: str, *, include_ctx: bool = True, from_offset: int | None = None
    ) -> SyncWatch:
        """Watch one instance, on a connection of its own."""
        request = WatchRequest.instance(instance_id, include_ctx, from_offset)
        return SyncWatch(self._target, request, self._rng, self._sleep)

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
        return SyncWatch(self._target, request, self._rng, self._sleep)
