"""Requests as a server reads them: one decode from bytes to typed params.

The usual request is decoded in a single pass, as a union tagged by `op`. Only what that
pass refuses is looked at again, slowly, to say precisely what is wrong and to keep the id.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal, Union, cast

import msgspec
from msgspec import Raw, Struct

from ._errors import ErrorCode, FrameError
from ._messages._envelope import RequestMeta
from ._messages._types import Message, RequestId
from ._operations import OPERATIONS, Operation
from ._oversize import SMALLEST_LIMIT_BYTES, oversize, too_large_unread

__all__ = ["REQUEST_TYPES", "InvalidRequest", "Request", "decode_params", "decode_request"]

MAX_ID_BYTES = 256
SURELY_SHORT = MAX_ID_BYTES // 4
"""Characters that have no more bytes than that in any case."""


class Request(Struct, tag_field="op"):
    """A whole, valid request. `op` is the operation's name, `params` has its params type."""

    op = ""

    id: RequestId
    params: Any
    type: Literal["request"] = "request"
    meta: RequestMeta | None = None


class InvalidRequest(Struct, frozen=True):
    """A message that is JSON and no valid request: answer it, the connection stays open."""

    id: str | None
    message: str
    code: ErrorCode = ErrorCode.BAD_REQUEST
    details: dict[str, Any] | None = None
    trace_id: str | None = None
    """What the message's `meta.trace_id` was, where that could be read."""


class _Envelope(Struct):
    id: Any = None
    op: Any = None
    params: Raw = Raw(b"null")
    type: Any = None
    meta: Any = None


def _request_type(operation: Operation) -> type[Request]:
    params = operation.received or operation.params
    field: Any = ("params", params)
    if not any(f.required for f in msgspec.structs.fields(params)):
        field = ("params", params, msgspec.field(default_factory=params))
    request: Any = msgspec.defstruct(
        operation.name,
        [("id", RequestId), field, ("type", Literal["request"], "request"),
         ("meta", RequestMeta | None, None)],
        bases=(Request,),
        namespace={"op": operation.name},
        tag_field="op",
        tag=operation.name,
        kw_only=True,
    )  # fmt: skip
    return cast(type[Request], request)


REQUEST_TYPES: dict[str, type[Request]] = {
    name: _request_type(operation) for name, operation in OPERATIONS.items()
}
"""The type of each operation's requests, by the operation's name."""

_decode: Any = msgspec.json.Decoder(Union[tuple(REQUEST_TYPES.values())]).decode  # noqa: UP007 (made at run time)
_check_syntax = msgspec.json.Decoder(Raw).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_params_decoders = {
    name: msgspec.json.Decoder(operation.received or operation.params)
    for name, operation in OPERATIONS.items()
}


def decode_request(
    payload: bytes | bytearray, *, of_any_size: bool = False
) -> Request | InvalidRequest:
    """Decode one message, unless its operation takes none as large (and not `of_any_size`).

    Raises FrameError when the payload is not UTF-8 or not JSON, nests too deeply to be
    read, or is followed by other data: such a peer can't be talked to.
    """
    if len(payload) > SMALLEST_LIMIT_BYTES and not of_any_size:
        return _decode_large(payload)
    try:
        if not payload.isascii():
            payload.decode()  # msgspec skips unknown fields without a look at their UTF-8
        request: Request = _decode(payload)
    except msgspec.ValidationError:
        return _explain(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"a message that is not JSON: {error}") from error
    except RecursionError as error:
        raise FrameError("a message that nests too deeply to be read") from error
    if len(request.id) > SURELY_SHORT and not _is_request_id(request.id):
        problem = f"id: longer than {MAX_ID_BYTES} bytes"
        return InvalidRequest(None, problem, trace_id=_trace_id(request.meta))
    return request


def _decode_large(payload: bytes | bytearray) -> Request | InvalidRequest:
    """Decode a message that may be larger than its operation takes."""
    refusal = too_large_unread(payload)
    if refusal is not None:
        request_id, problem, trace_id = refusal
        return InvalidRequest(request_id, problem, trace_id=trace_id)
    request = decode_request(payload, of_any_size=True)
    if isinstance(request, Request):
        too_large = oversize(request.op, len(payload))
        if too_large is not None:
            return InvalidRequest(request.id, too_large, trace_id=_trace_id(request.meta))
    return request


def _trace_id(meta: RequestMeta | None) -> str | None:
    return None if meta is None else meta.trace_id


def decode_params(op: str, params: Raw) -> Message | InvalidRequest:
    """Decode the params of one operation, for example of a BATCH's.

    Whatever can't be decoded makes an InvalidRequest, so that nothing interrupts a BATCH.
    """
    try:
        decoded: Message = _params_decoders[op].decode(
            params if bytes(params) != b"null" else b"{}"
        )
    except msgspec.ValidationError as error:
        return InvalidRequest(None, f"{op}: {_where(error, 'params')}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return InvalidRequest(None, f"{op}: params: not JSON: {error}")
    except RecursionError:
        return InvalidRequest(None, f"{op}: params: nested too deeply to be read")
    return decoded


def _explain(payload: bytes | bytearray) -> Request | InvalidRequest:
    """Say what is wrong with a message, or read it after all (null for an absent field)."""
    try:
        _check_syntax(payload)  # the first wrong type ended the reading; the rest may be no JSON
        envelope = _decode_envelope(payload)
    except msgspec.ValidationError as error:
        reason = _where(error, "")
        known = reason.startswith(".")
        return InvalidRequest(None, reason[1:] if known else "a message must be a JSON object")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"a message that is not JSON: {error}") from error
    except RecursionError as error:
        raise FrameError("a message that nests too deeply to be read") from error
    meta = _meta(envelope.meta)
    trace_id = meta.trace_id if isinstance(meta, RequestMeta) else None
    problem = _envelope_problem(envelope)
    if problem is not None:
        request_id = envelope.id if _is_request_id(envelope.id) else None
        return InvalidRequest(request_id, problem, trace_id=trace_id)
    params = decode_params(envelope.op, envelope.params)
    if isinstance(params, InvalidRequest):
        return InvalidRequest(envelope.id, params.message, trace_id=trace_id)
    if isinstance(meta, str):
        return InvalidRequest(envelope.id, meta)
    return REQUEST_TYPES[envelope.op](id=envelope.id, params=params, meta=meta)


def _is_request_id(value: object) -> bool:
    return isinstance(value, str) and len(value.encode()) <= MAX_ID_BYTES


def _envelope_problem(envelope: _Envelope) -> str | None:
    """What is wrong with id, type or op, if anything is."""
    if not isinstance(envelope.id, str):
        found = (
            "is missing" if envelope.id is None else f"expected a string, got {envelope.id!r:.80}"
        )
        return f"id: {found}"
    if not _is_request_id(envelope.id):
        return f"id: longer than {MAX_ID_BYTES} bytes"
    if envelope.type not in (None, "request"):
        return f"type: expected 'request', got {envelope.type!r:.80}"
    if not isinstance(envelope.op, str) or envelope.op not in OPERATIONS:
        return _unknown_op(envelope.op)
    return None


def _meta(value: object) -> RequestMeta | str | None:
    if value is None:
        return None
    try:
        return msgspec.convert(value, RequestMeta)
    except msgspec.ValidationError as error:
        return _where(error, "meta")


def _unknown_op(op: object) -> str:
    if op is None:
        return "op: is missing"
    if not isinstance(op, str):
        return f"op: expected a string, got {op!r:.80}"
    near = difflib.get_close_matches(op[:80].upper(), OPERATIONS, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(OPERATIONS)}"
    return f"op: unknown operation {op!r:.80}{hint}"


def _where(error: msgspec.ValidationError, root: str) -> str:
    """Turn msgspec's `... - at `$.field`` into `params.field: ...`."""
    text = str(error)
    match = re.fullmatch(r"(?s)(.*?) - at `(?:key in )?\$(.*)`", text)
    reason, path = match.groups() if match else (text, "")
    return f"{root}{path}: {reason[:1].lower()}{reason[1:].replace('`', '')}"
