"""The floor E: a server that parses each frame, checks its CRC, and answers frame by frame.

Answers to what arrived at once leave at once, as they would from any good server: a floor
should be hard to beat. It knows no JSON: the answer to a request is the request's own text
with another head, so that clients see a response with status ok and their id. Only HELLO
has an answer of its own.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, cast

from crc32c import crc32c

from rstmdb_protocol import HEADER_BYTES, MAGIC, HelloResult, encode_frame, encode_json

from . import __version__
from ._connect import Address

__all__ = ["loop_name", "serve_echo"]

REQUEST_HEAD: Final = b'{"type":"request"'
RESPONSE_HEAD: Final = b'{"type":"response","status":"ok"'

_HEADER = struct.Struct(">4s4xHII")


def loop_name() -> str:
    """The event loop that the echo runs on: uvloop where it is installed, like the server."""
    return "uvloop" if find_spec("uvloop") else "asyncio"


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        if self._tail:
            data = self._tail + data
        out: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= HEADER_BYTES:
            magic, extension, size, checksum = _HEADER.unpack_from(data, at)
            start = at + HEADER_BYTES + extension
            if magic != MAGIC or end < start + size:
                break
            payload = data[start : start + size]
            if crc32c(payload) != checksum or not payload.startswith(REQUEST_HEAD):
                self._transport.abort()
                return
            at = start + size
            out.append(encode_frame(_answer(payload)))
        self._transport.write(b"".join(out))
        self._tail = data[at:]
        if self._tail and not MAGIC.startswith(self._tail[:4]):
            self._transport.abort()


def _answer(payload: bytes) -> bytes:
    if b'"op":"HELLO"' not in payload[:60]:
        return RESPONSE_HEAD + payload[len(REQUEST_HEAD) :]
    hello = encode_json(HelloResult(1, "binary_json", "rstmdb-bench echo", __version__, []))
    return RESPONSE_HEAD + payload[len(REQUEST_HEAD) : -1] + b',"result":' + hello + b"}"


def serve_echo(address: Address, listening: Callable[[Address], None]) -> None:
    """Serve until the process is interrupted; `listening` hears the address once it is bound."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Echo, address.host, address.port)
        listening(Address(*server.sockets[0].getsockname()[:2]))
        await server.serve_forever()

    factory: Any = None
    if loop_name() == "uvloop":
        factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve())
