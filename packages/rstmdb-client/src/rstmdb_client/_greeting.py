"""The first words on a connection, and what else both kinds of pipe share; no I/O."""

from __future__ import annotations

import socket
from collections.abc import Generator
from typing import Any

import rstmdb_protocol as rcp

from ._calls import NOT_JSON, Raw, not_json, read_result
from ._errors import ConnectionLost, RequestTooLarge
from ._url import Target

__all__ = [
    "RECEIVE_BYTES",
    "SOCKET_OPTIONS",
    "encode_request",
    "explain",
    "greeting",
    "unanswered",
    "unless_last",
]

RECEIVE_BYTES = 256 * 1024

_TLS_HELP = {
    "WRONG_VERSION_NUMBER": "does the server speak TLS? rstmdb:// is without it",
    "CERTIFICATE_VERIFY_FAILED": "ca_cert names the authority to trust, server_name the name",
}
"""What helps, by the reason of an ssl.SSLError."""

SOCKET_OPTIONS: tuple[tuple[int, int, int], ...] = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        # A peer that vanished without a word is noticed after 60 + 3 * 20 seconds of silence.
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
)


def greeting(
    connection: rcp.ClientConnection, target: Target
) -> Generator[tuple[str, bytes], rcp.ResponseMessage, rcp.HelloResult]:
    """HELLO, and AUTH where there is a token: yields requests, wants their answers.

    Returns what HELLO agreed on. Raises ServerError where the server refuses.
    """
    answer = yield connection.hello("rstmdb-client", wire_modes=target.modes, features=rcp.FEATURES)
    hello = read_result("HELLO", answer, rcp.HelloResult)
    if target.token is not None:
        answer = yield connection.request("AUTH", rcp.AuthParams(target.token, "bearer"))
        read_result("AUTH", answer, rcp.AuthResult)
    return hello


def encode_request(
    connection: rcp.ClientConnection, op: str, params: rcp.Message | Raw
) -> tuple[str, bytes]:
    """The request's id and its bytes. Raises RequestTooLarge, TypeError for what is no JSON."""
    try:
        return connection.request(op, params)
    except rcp.LocalProtocolError as error:
        raise RequestTooLarge(f"{op}: {error}") from error
    except NOT_JSON as error:
        raise not_json(op, error) from error


def unless_last(message: rcp.ServerMessage) -> rcp.ServerMessage:
    """Pass a message on. Raises ConnectionLost for the server's last word, which has no id."""
    if isinstance(message, rcp.ResponseMessage) and message.id is None:
        body = message.error
        reason = "without a reason" if body is None else f"{body.code}: {body.message}"
        raise ConnectionLost(f"the server gave up the connection: {reason}")
    return message


def explain(error: BaseException) -> str:
    """What an error of the network says, in one line, and what helps where that is known."""
    if isinstance(error, ConnectionLost):  # which says more than its cause
        return str(error)
    cause: Any = error.__cause__ or error
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(explain(one) for one in cause.exceptions)
    text = str(cause) or type(cause).__name__
    help_text = _TLS_HELP.get(getattr(cause, "reason", None) or "")
    return text if help_text is None else f"{text}; {help_text}"


def unanswered(host: str, port: int, target: Target, *, connected: bool) -> str:
    """What to say of a host that was out of time."""
    late = f"no answer within {target.connect_timeout} s"
    if connected:
        plain = "" if target.tls else ", and one without TLS"
        late = f"connected, but {late}; is it an rstmdb server{plain}?"
    return f"{host}:{port}: {late}"
