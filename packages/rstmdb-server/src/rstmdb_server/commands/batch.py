"""BATCH: up to limits.max_batch_ops machine, instance and event operations as one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from rstmdb_core import InvalidRequest as InvalidParams
from rstmdb_protocol import (
    BATCH_OPERATIONS,
    MAX_PAYLOAD_BYTES,
    BatchOp,
    ErrorCode,
    InvalidRequest,
    Request,
    decode_params,
    encode_json,
    error_body,
)
from rstmdb_server.errors import RequestRefused, to_wire
from rstmdb_storage import BatchAborted

from . import machines

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session
    from rstmdb_storage import Answer

__all__ = ["special"]

MODES = ("atomic", "best_effort")
ENVELOPE_BYTES = 2048
"""Room for the envelope around a batch's results."""
MAX_LISTED = 10_000
"""Instances that all LIST_INSTANCES of a batch hold together: as many as one alone."""


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that see their session."""
    return {"BATCH": _batch}


def _batch(session: Session, request: Request) -> None:
    hub = session.hub
    params = request.params
    mode = params.mode or "best_effort"
    _validate(mode, params.ops, hub.config.limits.max_batch_ops)
    ops = [(op.op, decode_params(op.op, op.params)) for op in params.ops]
    puts = [params for op, params in ops if op == "PUT_MACHINE" and _is_valid(params)]

    def run() -> Answer:
        return _run(session, ops, atomic=mode == "atomic")

    if not machines.takes_long(*puts):
        result, offset = run()
        session.answer(request, result, offset, wrote=True)
        return

    async def work() -> Answer:
        for index, (op, params) in enumerate(ops):
            if op == "PUT_MACHINE" and _is_valid(params):
                ops[index] = op, await _prepared(hub, params)
        answer = run()
        hub.commit_soon()
        return answer

    hub.answer_later(session, request, work, wrote=True, alone=True)


async def _prepared(hub: Hub, params: Any) -> Any:
    """Params of a PUT_MACHINE whose definition has been read, or what they are refused with."""
    try:
        blueprint = await machines.prepare(hub, params)
    except InvalidParams as error:
        return InvalidRequest(None, error.message, details=error.details)
    return msgspec.structs.replace(params, definition=blueprint)


def _run(session: Session, ops: list[tuple[str, Any]], *, atomic: bool) -> Answer:
    """Run a batch as one unit; its encoded answer, and the offset that this depends on.

    Raises RequestRefused where the batch, being atomic, has changed nothing.
    """
    encoded: list[bytes] = []

    def check(results: list[Any]) -> None:
        encoded.append(_encode_results(results))

    lists = _Lists()
    commands = [_command(session, op, params, lists) for op, params in ops]
    try:
        _, offset = session.hub.store.batch(commands, atomic=atomic, check=check)
    except BatchAborted as aborted:
        raise _refusal(ops[aborted.index][0], aborted) from aborted
    return Raw(encoded[-1]), offset


def _validate(mode: str, ops: list[BatchOp], limit: int) -> None:
    """Refuse what can be refused before anything runs."""
    if mode not in MODES:
        raise RequestRefused(
            ErrorCode.BAD_REQUEST, f"mode: {mode!r:.80} is not known, only {' or '.join(MODES)}"
        )
    if len(ops) > limit:
        raise RequestRefused(
            ErrorCode.BAD_REQUEST,
            f"a batch of {len(ops)} operations is over the limit of {limit}",
            {"max_batch_ops": limit},
        )
    for index, op in enumerate(ops):
        if op.op not in BATCH_OPERATIONS:
            raise RequestRefused(
                ErrorCode.BAD_REQUEST,
                f"ops[{index}].op: {op.op!r:.80} can't be in a batch, only "
                f"{', '.join(sorted(BATCH_OPERATIONS))}",
                {"index": index, "op": op.op[:256]},
            )


class _Lists:
    """What the lists of one batch may still hold: a batch is done in one go."""

    def __init__(self) -> None:
        self._room = MAX_LISTED

    def list(self, command: Callable[[Any], Answer], params: Any) -> Answer:
        """A page, if there is room for it. Raises InvalidParams."""
        if self._room > 0:
            result, offset = command(params)
            self._room -= len(result.instances)
            if self._room >= 0:
                return result, offset
        raise InvalidParams(
            f"the lists of a batch hold {MAX_LISTED} instances together, no more; "
            "use smaller limits, or a request for each list"
        )


def _command(session: Session, op: str, params: Any, lists: _Lists) -> Callable[[], Answer]:
    if not _is_valid(params):
        return partial(_invalid, params)
    command, _ = session.hub.commands[op]
    if op == "LIST_INSTANCES":
        return partial(lists.list, command, params)
    return partial(command, params)


def _is_valid(params: Any) -> bool:
    return not isinstance(params, InvalidRequest)


def _invalid(params: InvalidRequest) -> Answer:
    raise InvalidParams(params.message, params.details)


def _encode_results(results: list[Any]) -> bytes:
    items = [_item(result) for result in results]
    encoded = encode_json({"results": items})
    if len(encoded) > MAX_PAYLOAD_BYTES - ENVELOPE_BYTES:
        raise RequestRefused(
            ErrorCode.BAD_REQUEST,
            f"the answer of {len(encoded)} bytes would not fit a frame of "
            f"{MAX_PAYLOAD_BYTES} bytes, so nothing was changed; use smaller batches",
        )
    return encoded


def _item(result: Any) -> dict[str, Any]:
    if not isinstance(result, Exception):
        return {"status": "ok", "result": result, "error": None}
    code, message, details = to_wire(result) or (ErrorCode.INTERNAL_ERROR, str(result), None)
    return {"status": "error", "result": None, "error": error_body(code, message, details)}


def _refusal(op: str, aborted: BatchAborted) -> Exception:
    """What an atomic batch is refused with; a bug's exception as it is."""
    wire = to_wire(aborted.cause)
    if wire is None:
        return aborted.cause
    code, message, details = wire
    return RequestRefused(
        code,
        f"ops[{aborted.index}] ({op}): {message}; nothing was changed",
        {**(details or {}), "index": aborted.index, "op": op},
        aborted.depends_on,
    )
