"""One connection of the async client: any number of calls at once, matched by id."""

from __future__ import annotations

import anyio

import rstmdb_protocol as rcp

from ._calls import Raw
from ._errors import ConnectionLost, RequestTimeout
from ._greeting import encode_request
from ._pipe import Pipe

__all__ = ["Link"]


class _Pending:
    """A call that waits for its answer."""

    __slots__ = ("answer", "arrived")

    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self.answer: rcp.ResponseMessage | None = None


class Link:
    """A pipe with a reader and a writer task.

    What many tasks ask at once goes out in one send. A call that is cancelled or out of time
    takes its request back if it is not on its way yet; otherwise it leaves behind an answer
    that nobody waits for, which is dropped.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._pending: dict[str, _Pending] = {}
        self._outbox: dict[str, bytes] = {}
        self._has_output = anyio.Event()
        self._scope = anyio.CancelScope()
        self.hello = pipe.hello
        self.lost: str | None = None
        """Why the connection is of no use any more."""

    async def ask(
        self, op: str, params: rcp.Message | Raw, timeout_secs: float
    ) -> rcp.ResponseMessage:
        """Send a request and wait for its answer.

        Raises ConnectionLost, RequestTimeout, RequestTooLarge.
        """
        if self.lost is not None:
            raise ConnectionLost(self.lost, sent=False)
        request_id, data = encode_request(self._pipe.connection, op, params)
        pending = self._pending[request_id] = _Pending()
        self._outbox[request_id] = data
        self._has_output.set()
        try:
            with anyio.fail_after(timeout_secs):
                await pending.arrived.wait()
        except TimeoutError as error:
            raise RequestTimeout(
                f"{op}: no answer in time ({timeout_secs} s); whether a write was done is not known"
            ) from error
        finally:
            del self._pending[request_id]
            unsent = self._outbox.pop(request_id, None)
        if pending.answer is None:
            raise ConnectionLost(self.lost or "the connection is closed", sent=unsent is None)
        return pending.answer

    async def run(self) -> None:
        """Read and write until the connection breaks or is closed."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read()
        finally:
            self.close()
            await self._pipe.aclose()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._pipe.receive()
                if isinstance(message, rcp.ResponseMessage) and message.id is not None:
                    pending = self._pending.get(message.id)
                    if pending is not None:
                        pending.answer = message
                        pending.arrived.set()
        except ConnectionLost as error:
            self.close(str(error))

    async def _write(self) -> None:
        while True:
            await self._has_output.wait()
            self._has_output = anyio.Event()
            data = b"".join(self._outbox.values())
            self._outbox.clear()
            if not data:
                continue  # it was all taken back
            try:
                await self._pipe.send(data)
            except ConnectionLost:
                return  # the reader learns of it, too, and of the server's last word

    def close(self, reason: str = "the connection is closed") -> None:
        """Be of no use any more: whoever waits learns that no answer will come."""
        if self.lost is None:
            self.lost = reason
            for pending in self._pending.values():
                pending.arrived.set()
            self._scope.cancel()
