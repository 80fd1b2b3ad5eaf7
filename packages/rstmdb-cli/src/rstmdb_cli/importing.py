"""A file of operations, sent in batches, so that running it again applies each line once.

Each operation that can have an idempotency key gets one that is made of the import's name, the
line, and how often that same line came before. So the same lines have the same keys, also after
others were mended, removed or added, and the server answers a repeat without doing it again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .values import parse_json

if TYPE_CHECKING:
    from rstmdb_client import SyncClient

__all__ = ["IN_BATCH", "KEYED", "Line", "Outcome", "lines", "outcomes"]

KEYED = frozenset({"CREATE_INSTANCE", "APPLY_EVENT", "DELETE_INSTANCE"})
"""Operations that can have an idempotency key."""

IN_BATCH = KEYED | {
    "PUT_MACHINE",
    "GET_MACHINE",
    "LIST_MACHINES",
    "GET_INSTANCE",
    "LIST_INSTANCES",
}
"""Operations that a batch may hold (the page on the wire protocol, Batches)."""

_MOST_BYTES = 4 << 20
"""Of lines in one batch, so that request and answer stay far below a frame's 16 MiB."""


@dataclass(frozen=True, slots=True)
class Line:
    """An operation, its line's number from 1, and the line's size in bytes."""

    number: int
    op: str
    params: dict[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line; `item` is its part of the protocol's result."""

    line: Line
    item: dict[str, Any]
    before: bool
    """The line had been applied earlier."""

    @property
    def failed(self) -> bool:
        """The server refused it."""
        return bool(self.item["status"] == "error")


def lines(texts: Iterable[bytes], name: str) -> Iterator[Line]:
    """The operations of a file, those of lines that are not empty, with their keys.

    `name` is the import's. Raises ValueError, whose message names the line, for one that is
    no operation.
    """
    seen: Counter[bytes] = Counter()
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            op, params = _operation(text)
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is not UTF-8: {error}") from error
        except ValueError as error:
            raise ValueError(f"line {number} {error}") from error
        if op in KEYED and params.get("idempotency_key") is None:
            canonical = json.dumps([op, params], sort_keys=True).encode("ascii")
            digest = hashlib.sha256(canonical).digest()
            seen[digest] += 1
            parts = (name.encode("utf-8", "surrogateescape"), digest, b"%d" % seen[digest])
            key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:40]
            params = params | {"idempotency_key": f"import-{key}"}
        yield Line(number, op, params, len(text))


def _operation(text: bytes) -> tuple[str, dict[str, Any]]:
    """Read a line. Raises ValueError that continues the words "line N"."""
    try:
        value = parse_json(text.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("op"), str):
        raise ValueError('is no operation: {"op": "APPLY_EVENT", "params": {...}} is one')
    params = value.get("params")
    if params is not None and not isinstance(params, dict):
        raise ValueError("has params that are no JSON object")
    op = value["op"]
    if op not in IN_BATCH:
        known = ", ".join(sorted(IN_BATCH))
        raise ValueError(f"has the op {op!r}, which can't be in a batch; known: {known}")
    return op, params or {}


def outcomes(
    client: SyncClient, operations: Iterable[Line], most: int, head: int
) -> Iterator[Outcome]:
    """Send operations in batches of up to `most` and tell what became of each, in their order.

    `head` is the log's offset before the first: what lies at or before it was applied earlier.
    A batch that is refused as a whole, because its answer is too large or a line makes no sense,
    is sent in halves. Raises what the client raises; the lines told so far are then done.
    """
    for chunk in _chunks(operations, most):
        yield from _sent(client, chunk, head)


def _chunks(operations: Iterable[Line], most: int) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    size = 0
    for line in operations:
        if chunk and (len(chunk) >= most or size + line.size > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += line.size
    if chunk:
        yield chunk


def _sent(client: SyncClient, chunk: list[Line], head: int) -> Iterator[Outcome]:
    from msgspec import to_builtins

    from rstmdb_client import BadRequestError, RequestTooLarge

    try:
        answer = client.call_batch([{"op": line.op, "params": line.params} for line in chunk])
    except (BadRequestError, RequestTooLarge) as error:
        if len(chunk) > 1:
            middle = len(chunk) // 2
            yield from _sent(client, chunk[:middle], head)
            yield from _sent(client, chunk[middle:], head)
            return
        refusal = {"code": "BAD_REQUEST", "message": str(error), "retryable": False}
        yield Outcome(chunk[0], {"status": "error", "result": None, "error": refusal}, False)
        return
    for line, item in zip(chunk, to_builtins(answer)["results"], strict=True):
        yield Outcome(line, item, before=_was_before(item["result"], head))


def _was_before(result: Any, head: int) -> bool:
    """Whether a result is the repeat of one from before the import began."""
    if not isinstance(result, dict):
        return False
    offset = result.get("wal_offset")
    return result.get("applied") is False or (isinstance(offset, int) and offset <= head)
