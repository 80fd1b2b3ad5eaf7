"""Telling systemd how the service is doing (sd_notify(3)), where it asked for it."""

from __future__ import annotations

import logging
import os
import socket

__all__ = ["notify"]

logger = logging.getLogger("rstmdb.systemd")


def notify(state: str) -> None:
    """Send a state such as READY=1 or STOPPING=1; does nothing unless NOTIFY_SOCKET is set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as service:
            service.connect(address)
            service.send(state.encode())
    except OSError as error:
        logger.warning("systemd was not told %s: %s", state, error)
