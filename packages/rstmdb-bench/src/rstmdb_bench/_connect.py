"""Connections as the protocol asks for them, and what a workload needs on the server."""

from __future__ import annotations

import resource
import socket
from typing import Any, Final, NamedTuple

from rstmdb_protocol import ClientConnection, ProtocolError, ResponseMessage

from ._errors import BenchError
from ._workload import MACHINE, Shape, Workload, initial_ctx

__all__ = ["Address", "Session", "allow_files", "prepare"]

TIMEOUT_SECONDS: Final = 10.0
CREATE_AT_ONCE: Final = 200
STATES: Final = ["s0", "s1", "s2", "s3", "s4"]
DEFINITION: Final[dict[str, Any]] = {
    "states": STATES,
    "initial": STATES[0],
    "transitions": [
        {"from": state, "event": "NEXT", "to": STATES[(index + 1) % len(STATES)]}
        for index, state in enumerate(STATES)
    ],
}


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT, an IPv6 host in brackets. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:7401")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def allow_files(number: int) -> None:
    """Raise the limit of open files to `number` where it is lower. Raises BenchError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        if hard != resource.RLIM_INFINITY and hard < number:
            raise BenchError(
                f"{number} open files are needed and {hard} allowed; raise ulimit -n or "
                "open fewer connections"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


class Session:
    """A blocking connection after HELLO and, with a token, AUTH.

    Raises BenchError, here and in every method, when the server can't be reached, does not
    answer in 10 seconds or refuses.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._rcp = ClientConnection()
        self._arrived: list[ResponseMessage] = []
        try:
            self.socket = socket.create_connection(address, TIMEOUT_SECONDS)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BenchError(f"can't reach {address}: {reason}; does a server run there?") from None
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, hello = self._rcp.hello("rstmdb-bench", features=["batch", "idempotency"])
            self._send(hello)
            self._accept("HELLO", self._answer())
            if token is not None:
                self.call("AUTH", {"method": "bearer", "token": token})
        except BaseException:
            self.socket.close()
            raise

    def call(self, op: str, params: dict[str, Any], *allowed: str) -> None:
        """Send a request and wait for its answer: ok, or an error code that is `allowed`."""
        self.call_many(op, [params], *allowed)

    def call_many(self, op: str, params: list[dict[str, Any]], *allowed: str) -> None:
        """Send requests at once and wait for all of their answers."""
        self._send(b"".join(self._rcp.request(op, each)[1] for each in params))
        for _ in params:
            self._accept(op, self._answer(), *allowed)

    def _accept(self, op: str, answer: ResponseMessage, *allowed: str) -> None:
        error = answer.error
        if answer.status == "ok" or (error is not None and error.code in allowed):
            return
        code, message = (error.code, error.message) if error else ("?", "no error was given")
        hint = ""
        if code in {"AUTH_FAILED", "UNAUTHORIZED"}:
            hint = "; give the right token with --token or RSTMDB_TOKEN"
        elif code == "MACHINE_VERSION_EXISTS":
            hint = f"; another machine {MACHINE!r} is there, use a server without it"
        raise BenchError(f"{self._address} refused {op}: {code}: {message}{hint}")

    def _send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise BenchError(f"{self._address} closed the connection: {error}") from None

    def _answer(self) -> ResponseMessage:
        try:
            while not self._arrived:
                data = self.socket.recv(1 << 16)
                if not data:
                    raise BenchError(f"{self._address} closed the connection without an answer")
                self._rcp.feed(data)
                self._arrived += [
                    message
                    for message in self._rcp.messages()
                    if isinstance(message, ResponseMessage)
                ]
        except TimeoutError:
            raise BenchError(f"no answer from {self._address} in {TIMEOUT_SECONDS:g} s") from None
        except OSError as error:
            raise BenchError(f"{self._address} closed the connection: {error}") from None
        except ProtocolError as error:
            raise BenchError(f"{self._address} does not speak RCP: {error}") from None
        return self._arrived.pop(0)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def prepare(address: Address, token: str | None, workload: Workload, shape: Shape) -> None:
    """Register the machine and create the workload's instances, PREFIX-0 up to their number.

    What is there already stays. Raises BenchError.
    """
    session = Session(address, token)
    instances = 0 if workload is Workload.CREATE else shape.instances
    try:
        session.call("PUT_MACHINE", {"machine": MACHINE, "version": 1, "definition": DEFINITION})
        for start in range(0, instances, CREATE_AT_ONCE):
            rows = [
                {
                    "instance_id": f"{shape.prefix}-{number}",
                    "machine": MACHINE,
                    "version": 1,
                    "initial_ctx": initial_ctx(workload, shape, number),
                }
                for number in range(start, min(start + CREATE_AT_ONCE, instances))
            ]
            session.call_many("CREATE_INSTANCE", rows, "INSTANCE_EXISTS")
    finally:
        session.close()
