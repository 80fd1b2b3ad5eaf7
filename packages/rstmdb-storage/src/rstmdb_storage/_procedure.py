"""Work that takes a while, written once for a blocking caller and for an event loop.

A procedure is a generator that runs on the store's own thread. It yields blocking steps
(callables without arguments, for any other thread) and waits (`Durable`); whoever drives it
sends the step's result back, or throws what the step raised. Between two steps the store
serves other commands.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

__all__ = ["Durable", "Procedure", "Step"]


@dataclass(frozen=True, slots=True)
class Durable:
    """Wait until the log is synced up to `offset`; WriteFailed is thrown if that fails."""

    offset: int


Step = Durable | Callable[[], Any]
Procedure = Generator[Step, Any, Any]
