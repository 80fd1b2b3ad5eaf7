"""One connection of the async client: any number of calls at once, matched by id."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteStream, TaskGroup

import rstmdb_protocol as rcp

from ._calls import Raw
from ._errors import ConnectFailed, ConnectionLost, RequestTimeout, server_error
from ._url import Target

__all__ = ["Link", "dial"]

RECEIVE_BYTES = 256 * 1024


async def dial(target: Target) -> ByteStream:
    """Connect to the first host that answers. Raises ConnectFailed."""
    problems = []
    for host, port in target.hosts:
        try:
            with anyio.fail_after(target.connect_timeout):
                context = target.ssl_context()
                if context is None:
                    return await anyio.connect_tcp(host, port)
                return await anyio.connect_tcp(
                    host,
                    port,
                    ssl_context=context,
                    tls_hostname=target.server_name or host,
                    tls_standard_compatible=False,
                )
        except TimeoutError:
            problems.append(f"{host}:{port}: no answer within {target.connect_timeout} s")
        except (OSError, ssl.SSLError) as error:
            problems.append(f"{host}:{port}: {error.__cause__ or error}")
    raise ConnectFailed(f"can't connect to {'; '.join(problems)}")


class _Pending:
    """A call that waits for its answer."""

    __slots__ = ("answer", "arrived")

    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self.answer: rcp.ResponseMessage | None = None


class Link:
    """A greeted, authenticated connection with a reader and a writer task.

    A cancelled call leaves nothing behind but an answer that nobody waits for, which is
    dropped. What many tasks ask at once goes out in one write.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._connection = rcp.ClientConnection()
        self._pending: dict[str, _Pending] = {}
        self._outbox: list[bytes] = []
        self._has_output = anyio.Event()
        self._scope = anyio.CancelScope()
        self.lost: str | None = None
        """Why the connection is of no use any more."""

    @classmethod
    async def open(cls, target: Target, tasks: TaskGroup, features: Sequence[str] = ()) -> Link:
        """Connect, greet, authenticate; its tasks run in `tasks`. Raises ConnectFailed."""
        link = cls(await dial(target))
        tasks.start_soon(link._run)
        try:
            await link._greet(target, features)
        except BaseException:
            link.close()
            raise
        return link

    async def _greet(self, target: Target, features: Sequence[str]) -> None:
        wanted = [rcp.Feature.IDEMPOTENCY, rcp.Feature.BATCH, rcp.Feature.ZSTD, *features]
        request = self._connection.hello("rstmdb-client", wire_modes=target.modes, features=wanted)
        try:
            answers = [await self._ask(*request, target.connect_timeout)]
            if target.token is not None and answers[0].error is None:
                auth = self._connection.request("AUTH", rcp.AuthParams(target.token, "bearer"))
                answers.append(await self._ask(*auth, target.connect_timeout))
        except (ConnectionLost, RequestTimeout) as error:
            raise ConnectFailed(f"the server did not answer HELLO: {error}") from error
        for answer in answers:
            if answer.error is not None:
                raise server_error(answer.error)

    async def ask(
        self, op: str, params: rcp.Message | Raw, timeout_secs: float
    ) -> rcp.ResponseMessage:
        """Send a request and wait for its answer. Raises ConnectionLost, RequestTimeout."""
        return await self._ask(*self._connection.request(op, params), timeout_secs)

    async def _ask(self, request_id: str, data: bytes, timeout_secs: float) -> rcp.ResponseMessage:
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        pending = self._pending[request_id] = _Pending()
        self._outbox.append(data)
        self._has_output.set()
        try:
            with anyio.fail_after(timeout_secs):
                await pending.arrived.wait()
        except TimeoutError as error:
            raise RequestTimeout(
                f"no answer within {timeout_secs} s; whether a write was done is not known"
            ) from error
        finally:
            self._pending.pop(request_id, None)
        if pending.answer is None:
            raise ConnectionLost(self.lost or "the connection is closed")
        return pending.answer

    async def _run(self) -> None:
        """Read and write until the connection breaks or is closed."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read()
                    tasks.cancel_scope.cancel()
        finally:
            self.fail(self.lost or "the connection is closed")
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)

    async def _read(self) -> None:
        try:
            while True:
                self._connection.feed(await self._stream.receive(RECEIVE_BYTES))
                for message in self._connection.messages():
                    if isinstance(message, rcp.ResponseMessage):
                        self._settle(message)
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self.fail("the server closed the connection")
        except (OSError, anyio.BrokenResourceError) as error:
            self.fail(f"the connection broke: {error.__cause__ or error}")
        except rcp.RemoteProtocolError as error:
            self.fail(f"the server broke the protocol: {error}")

    def _settle(self, answer: rcp.ResponseMessage) -> None:
        if answer.id is None:  # the server's last word about a broken stream
            body = answer.error
            self.fail(f"the server gave up: {body.message if body else 'no reason'}")
            return
        pending = self._pending.get(answer.id)
        if pending is not None:
            pending.answer = answer
            pending.arrived.set()

    async def _write(self) -> None:
        while True:
            await self._has_output.wait()
            self._has_output = anyio.Event()
            data = b"".join(self._outbox)
            self._outbox.clear()
            try:
                await self._stream.send(data)
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the reader learns of it, too, and tells why

    def fail(self, reason: str) -> None:
        """Whoever waits learns that no answer will come."""
        if self.lost is None:
            self.lost = reason
        for pending in self._pending.values():
            pending.arrived.set()

    def close(self) -> None:
        """Close the connection."""
        self.fail("the connection is closed")
        with suppress(RuntimeError):
            self._scope.cancel()
