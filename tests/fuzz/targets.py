"""What is fuzzed: each target takes any bytes and raises only where a promise is broken."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import oracles
from rstmdb_core import GuardSyntaxError, compile_guard
from rstmdb_protocol import (
    ErrorCode,
    FrameError,
    InvalidRequest,
    RemoteProtocolError,
    Request,
    ServerConnection,
    decode_request,
    encode_error,
    encode_frame,
    encode_json,
)
from rstmdb_protocol._buffer import ReceiveBuffer
from rstmdb_server.config import SETTINGS, Config, ConfigError, load_config

LIMIT = 4096


def cut(data: bytes, steps: list[int], *, zstd: bool) -> oracles.Outcome:
    """What the receive buffer makes of the bytes when they arrive in pieces."""
    buffer = ReceiveBuffer(None, LIMIT)
    buffer.allow_compressed = zstd
    found: list[bytes] = []
    at = turn = 0
    while at < len(data):
        step = steps[turn % len(steps)] if steps else len(data)
        buffer.feed(data[at : at + step])
        at += step
        turn += 1
        try:
            found.extend(buffer.messages(bytes))
        except RemoteProtocolError:
            return found, True
        assert buffer.pending_bytes <= LIMIT + 65_535 + 18 + step
    return found, False


def frames(data: bytes) -> None:
    """A byte stream, whole and in pieces, against a second parser.

    The first byte says how long the pieces are and whether zstd was agreed.
    """
    if not data:
        return
    zstd, step = bool(data[0] & 0x80), data[0] & 0x7F
    stream = data[1:]
    payloads, broken = oracles.cut_stream(stream, LIMIT, zstd=zstd)
    for steps in ([], [step + 1], [1, step + 1, 19]):
        found, refused = cut(stream, steps, zstd=zstd)
        assert found == payloads
        assert broken is None or refused is broken
    if len(stream) <= LIMIT:
        assert cut(encode_frame(stream), [step + 1], zstd=False) == ([stream], False)


def messages(data: bytes) -> None:
    """One payload through the decoder, against Python's own reader of JSON."""
    try:
        value = oracles.read_json(data)
    except ValueError:
        assert decoded(data) is None, "taken for JSON"
        return
    except RecursionError:
        decoded(data)
        return
    request = decoded(data)
    if request is None:  # what nests or counts beyond bounds may be refused as a whole
        assert beyond_bounds(value), "not taken for JSON"
    elif isinstance(request, InvalidRequest):
        answer = encode_error(request.id, request.code, request.message, request.details)
        ErrorCode(json.loads(answer)["error"]["code"])
        assert len(request.message) < 2000
        assert request.id is None or request.id == value["id"]
    else:
        assert (request.id, type(request).op) == (value["id"], value["op"])
        assert len(request.id.encode()) <= 256
        encode_json(request.params)


def decoded(data: bytes) -> Request | InvalidRequest | None:
    """What the decoder makes of a payload; None where it refuses it as no JSON."""
    try:
        return decode_request(data)
    except FrameError:
        return None


def beyond_bounds(value: Any, depth: int = 0) -> bool:
    """Whether a value nests deeper than 100 levels, or holds a number that no double reaches."""
    if depth > 100:
        return True
    if isinstance(value, dict):
        return any(beyond_bounds(one, depth + 1) for one in value.values())
    if isinstance(value, list):
        return any(beyond_bounds(one, depth + 1) for one in value)
    if isinstance(value, float):
        return value in (float("inf"), float("-inf"))
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def conversations(data: bytes) -> None:
    """A whole connection: whatever is sent, each request is answered or the stream ends."""
    connection = ServerConnection(max_payload_bytes=LIMIT)
    connection.feed(data)
    try:
        for request in connection.requests():
            if isinstance(request, Request) and type(request).op == "HELLO":
                mode, features = connection.negotiate(request.params)
                connection.switch(mode, features)
            connection.pack(encode_error(request.id, ErrorCode.BAD_REQUEST, "no"))
    except RemoteProtocolError as error:
        connection.pack(encode_error(None, error.code, str(error)))


CONTEXTS: tuple[dict[str, Any], ...] = (
    {},
    {"a": 1, "b": True, "c": None, "d": "x", "e": [1, 2], "f": {"a": 1.5, "b": []}},
    {"a": "1", "b": 0, "c": False, "d": "", "e": {"length": 7}, "f": -0.0, "length": 3},
    {"a": 2**63, "b": 1e300, "c": {"a": {"a": {"a": True}}}, "d": "ä😀", "e": "length"},
)


def guards(data: bytes) -> None:
    """A guard's text, against the same guard as a Python expression."""
    text = data.decode(errors="replace")
    if len(text) > 300:
        return  # nesting and length have their own limits, which the second reader has not
    expected = oracles.read_guard(text)
    try:
        guard = compile_guard(text)
    except GuardSyntaxError as error:
        if expected is not None and text.count("!") + text.count("(") <= 60:
            raise AssertionError("refused, though it is a guard") from error
        return
    assert expected is not None, text
    for ctx in CONTEXTS:
        before = json.dumps(ctx)
        assert guard(ctx) == expected(ctx), (text, ctx)
        assert json.dumps(ctx) == before


_FILE = Path(tempfile.gettempdir()) / f"fuzzed-{os.getpid()}.yaml"
VARIABLES = sorted(setting.variable for setting in SETTINGS.values())


def configuration(data: bytes) -> None:
    """A configuration file and variables: settings that are whole, or an error that says where.

    Lines that begin with a byte below 32 (but no white space) are variables: the byte chooses
    which, the rest is its value.
    """
    lines = data.split(b"\n")
    chosen = [line for line in lines if line[:1] and line[0] < 32 and line[0] not in b"\t\r\n"]
    environ = {VARIABLES[line[0] % len(VARIABLES)]: line[1:].decode(errors="replace")
               for line in chosen}  # fmt: skip
    _FILE.write_bytes(b"\n".join(line for line in lines if line not in chosen))
    try:
        config = load_config(_FILE, environ, {})
    except ConfigError as error:
        text = str(error)
        assert text.startswith((str(_FILE), *environ)), text
        assert "\n" not in text, text
        assert len(text) < 2000, text
        return
    finally:
        _FILE.unlink()
    check_settings(config)


def check_settings(config: Config) -> None:
    """Every setting has a value of its type that means something."""
    assert config.network.max_connections > 0
    assert config.network.idle_timeout_secs > 0
    host, port = config.network.address
    assert host
    assert 0 <= port < 65_536
    assert 0 < config.storage.wal_segment_size_mb <= 2**19
    assert config.storage.recovery in ("strict", "skip_corrupt")
    assert all(len(one) == 64 for one in config.auth.token_hashes)
    for setting in SETTINGS.values():
        section, _, name = setting.key.partition(".")
        value = getattr(getattr(config, section), name)
        assert value is not None or name.endswith(("_path", "_dir", "_file")), setting.key
        if isinstance(value, int) and not isinstance(value, bool):
            assert value >= 0, setting.key


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "messages": messages,
    "conversations": conversations,
    "guards": guards,
    "configuration": configuration,
}
