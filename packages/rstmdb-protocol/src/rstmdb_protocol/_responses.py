"""Responses and events as a server writes them: payload bytes, not yet framed."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ._errors import RETRYABLE_CODES, ErrorCode
from ._messages._envelope import ErrorBody, ErrorEnvelope, OkEnvelope, ResponseMeta

__all__ = ["encode_error", "encode_json", "encode_ok", "error_body"]

encode_json = msgspec.json.Encoder().encode
"""Encode any message, result or JSON value the way it goes on the wire."""


def encode_ok(request_id: str | None, result: Any, meta: ResponseMeta | UnsetType = UNSET) -> bytes:
    """A response with a result: any struct, mapping, or msgspec.Raw."""
    return encode_json(OkEnvelope(request_id, "ok", result, meta))


def error_body(code: ErrorCode, message: str, details: dict[str, Any] | None = None) -> ErrorBody:
    """An error; whether it is retryable follows from its code."""
    return ErrorBody(code.value, message, code in RETRYABLE_CODES, details or UNSET)


def encode_error(
    request_id: str | None,
    code: ErrorCode,
    message: str,
    details: dict[str, Any] | None = None,
    meta: ResponseMeta | UnsetType = UNSET,
) -> bytes:
    """A response with an error."""
    body = error_body(code, message, details)
    return encode_json(ErrorEnvelope(request_id, "error", body, meta))
