"""BATCH: up to limits.max_batch_ops machine, instance and event operations as one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from rstmdb_server.session import Session
    from rstmdb_storage import Answer

__all__ = ["special"]

MODES = ("atomic", "best_effort")
ENVELOPE_BYTES = 2048
"""Room for the envelope around a batch's results."""


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that see their session."""
    return {"BATCH": _batch}


def _batch(session: Session, request: Request) -> None:
    hub = session.hub
    params = request.params
    mode = params.mode or "best_effort"
    _validate(mode, params.ops, hub.config.limits.max_batch_ops)
    commands = [_command(session, op) for op in params.ops]
    encoded: list[bytes] = []

    def check(results: list[Any]) -> None:
        encoded.append(_encode_results(results))

    try:
        _, offset = hub.store.batch(commands, atomic=mode == "atomic", check=check)
    except BatchAborted as aborted:
        _refuse_atomic(session, request, aborted)
        return
    session.answer(request, Raw(encoded[-1]), offset, wrote=True)


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


def _command(session: Session, op: BatchOp) -> Callable[[], Answer]:
    command = session.hub.batchable[op.op]
    params = decode_params(op.op, op.params)
    if isinstance(params, InvalidRequest):
        return partial(_invalid, params.message)
    return partial(command, params)


def _invalid(message: str) -> Answer:
    raise InvalidParams(message)


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


def _refuse_atomic(session: Session, request: Request, aborted: BatchAborted) -> None:
    op = request.params.ops[aborted.index].op
    wire = to_wire(aborted.cause)
    if wire is None:
        raise aborted.cause
    code, message, details = wire
    refusal = RequestRefused(
        code,
        f"ops[{aborted.index}] ({op}): {message}; nothing was changed",
        {**(details or {}), "index": aborted.index, "op": op},
    )
    payload, error = session.encode_refusal(request, refusal)
    session.send(request, payload, aborted.depends_on, error=error)
