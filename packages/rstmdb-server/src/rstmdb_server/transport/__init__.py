"""Thin adaptors that carry a session over a socket, and what a session needs of them."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Protocol

__all__ = ["Listener", "Transport", "is_reset", "keep_alive"]

KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), 60),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), 15),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), 4),
)
"""A peer that is gone without a word is found out after two minutes, even a silent watcher."""


def keep_alive(sock: Any) -> None:
    """Ask the system to look after a peer that says nothing, where it can."""
    for level, option, value in KEEP_ALIVE:
        if option is not None:
            with contextlib.suppress(OSError):  # not TCP, or already gone
                sock.setsockopt(level, option, value)


def is_reset(sock: Any) -> bool:
    """Whether the peer has reset the connection; the socket tells it once."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except OSError:
        return True


class Transport(Protocol):
    """What a session needs of its socket."""

    peer: str

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""

    def buffered(self) -> int:
        """Bytes queued that the socket has not taken."""

    def pause_reading(self) -> None:
        """Read nothing more until resume_reading."""

    def resume_reading(self) -> None:
        """Read on."""

    def is_gone(self) -> bool:
        """Whether the peer is: while reading is paused, no callback tells of a reset."""

    def close(self) -> None:
        """Send what is queued, then close."""

    def abort(self) -> None:
        """Close at once."""


class Listener(Protocol):
    """Sockets that take connections and give each a session."""

    addresses: list[str]
    """Where it listens, as host:port."""

    async def stop(self) -> None:
        """Take no more connections; those that there are live on."""
