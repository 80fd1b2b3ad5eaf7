"""Concurrent histories of single instances, and whether they are linearizable.

Every acknowledged write and every read names an offset, so that the order in which the server
claims to have run them is known: a history is linearizable exactly if that order contradicts no
client's clock. A write that was never answered may have happened at any time after it was
sent, or not at all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from wire import Json, Wire


@dataclass(frozen=True)
class Operation:
    """One call: when it was sent and answered (monotonic), and what it saw or did."""

    kind: str
    instance_id: str
    began: float
    ended: float
    offset: int
    value: Any
    """Of a write what it wrote, of a read what it found."""


def timed(wire: Wire, op: str, params: Json) -> tuple[float, Json, float]:
    """Send a request and wait: when it was sent, the answer, when that came."""
    began = time.monotonic()
    answer = wire.response(wire.send(op, params))
    return began, answer, time.monotonic()


def violations(history: list[Operation], log: dict[int, Json]) -> list[str]:
    """What in a history of one instance contradicts one order of all operations."""
    found = []
    for operation in history:
        entry = log.get(operation.offset)
        if entry is None:
            found.append(f"{operation} is about what is not in the log")
        elif entry["type"] == "apply_event" and entry["payload"]["v"] != operation.value:
            found.append(f"{operation} has another value than the log at its offset")
    # Offsets rise with time: who began after another had ended comes behind it.
    by_end = sorted(history, key=lambda operation: operation.ended)
    highest = at = 0
    for later in sorted(history, key=lambda operation: operation.began):
        while at < len(by_end) and by_end[at].ended < later.began:
            highest = max(highest, by_end[at].offset)
            at += 1
        least = highest + 1 if later.kind == "write" else highest
        if later.offset < least:
            found.append(f"{later} began after offset {highest} had been told")
    return found
