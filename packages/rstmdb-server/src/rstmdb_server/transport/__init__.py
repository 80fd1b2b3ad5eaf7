"""Thin adaptors that carry a session over a socket, and what a session needs of them."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Listener", "Transport"]


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
