"""HELLO, AUTH, PING, BYE, INFO."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from rstmdb_protocol import (
    FEATURES,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    AuthResult,
    ByeResult,
    ErrorCode,
    HelloResult,
    InfoResult,
    RemoteProtocolError,
    Request,
)
from rstmdb_server import SERVER_NAME, __version__
from rstmdb_server.errors import RequestRefused

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session
    from rstmdb_storage import Answer

__all__ = ["offered_features", "plain", "special"]

logger = logging.getLogger("rstmdb.auth")

MAX_AUTH_FAILURES = 3
_PONG: Answer = (Raw(b'{"pong":true}'), 0)


def offered_features(hub: Hub) -> list[str]:
    """What this server can do."""
    return [name.value for name in FEATURES]


def plain(hub: Hub) -> dict[str, tuple[Callable[[Any], Answer], bool]]:
    """The commands of this subject, bound to a server."""

    def ping(_params: object) -> Answer:
        return _PONG

    def info(_params: object) -> Answer:
        state = hub.store.state
        result = InfoResult(
            server_name=SERVER_NAME,
            server_version=__version__,
            protocol_version=PROTOCOL_VERSION,
            features=offered_features(hub),
            max_frame_bytes=MAX_PAYLOAD_BYTES,
            max_batch_ops=hub.config.limits.max_batch_ops,
            uptime_secs=round(time.monotonic() - hub.started_at, 3),
            connections=len(hub.sessions),
            instances=len(state.instances),
            machines=state.machine_count,
            wal_offset=hub.store.log.head,
        )
        return result, hub.store.log.head

    return {"PING": (ping, False), "INFO": (info, False)}


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that change their session."""
    return {"HELLO": _hello, "AUTH": _auth, "BYE": _bye}


def _hello(session: Session, request: Request) -> None:
    connection = session.connection
    try:
        mode, features = connection.negotiate(request.params, offered_features(session.hub))
    except RemoteProtocolError as error:
        raise RequestRefused(
            ErrorCode.UNSUPPORTED_PROTOCOL, str(error), {"supported": [PROTOCOL_VERSION]}
        ) from error
    connection.switch_reading(mode, features)
    result = HelloResult(PROTOCOL_VERSION, mode.value, SERVER_NAME, __version__, features)
    session.answer(request, result, speaks=(mode, features))


def _auth(session: Session, request: Request) -> None:
    params = request.params
    hub = session.hub
    if params.method not in (None, "bearer"):
        problem = f"authentication method {params.method!r:.80} is not known, only 'bearer'"
    elif not params.token:
        problem = "the token is empty"
    elif hub.config.auth.required and not hub.tokens.verify(params.token):
        problem = "the token is not known here"
    else:
        session.authenticated = True
        session.accepts, session.special = hub.open_tables
        session.connection.max_payload_bytes = MAX_PAYLOAD_BYTES
        session.answer(request, AuthResult(True))
        return
    session.auth_failures += 1
    # What was sent stays out of the log: it may be a token in the wrong field.
    logger.warning("failed AUTH from %s", session.transport.peer)
    session.refuse(request, RequestRefused(ErrorCode.AUTH_FAILED, problem))
    if session.auth_failures >= MAX_AUTH_FAILURES:
        session.close()


def _bye(session: Session, request: Request) -> None:
    session.answer(request, ByeResult(True))
    session.close()
