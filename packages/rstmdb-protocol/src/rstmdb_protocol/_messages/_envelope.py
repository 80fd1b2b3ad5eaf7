"""Envelopes: requests, responses, and the errors inside them."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from ._types import JsonObject, Message

__all__ = ["ErrorBody", "RequestMeta", "ResponseMessage", "ResponseMeta"]


class RequestMeta(Message, frozen=True):
    """What a client may send along; `trace_id` comes back in the response."""

    trace_id: str | None = None


class ResponseMeta(Message, frozen=True):
    """What comes with a response; writes carry offset and time (RFC 3339, UTC)."""

    wal_offset: int | None = None
    server_time: str | None = None
    trace_id: str | None = None
    leader: bool | None = None


class ErrorBody(Struct, frozen=True):
    """Why a request failed; `details` is for programs and omitted when empty."""

    code: str
    message: str
    retryable: bool
    details: JsonObject | UnsetType = UNSET


class ResponseMessage(Struct, frozen=True, tag_field="type", tag="response"):
    """A response as a client reads it: the result stays encoded until its type is known."""

    id: str | None
    status: Literal["ok", "error"]
    result: Raw = Raw(b"{}")
    error: ErrorBody | None = None
    meta: ResponseMeta | None = None


class OkEnvelope(Struct, frozen=True, tag_field="type", tag="response"):
    """A response as a server writes it."""

    id: Any
    status: str
    result: Any
    meta: Any = UNSET


class ErrorEnvelope(Struct, frozen=True, tag_field="type", tag="response"):
    """An error response as a server writes it."""

    id: Any
    status: str
    error: ErrorBody
    meta: Any = UNSET
