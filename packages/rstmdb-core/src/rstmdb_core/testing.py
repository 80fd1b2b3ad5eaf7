"""An engine with a list for a log, to test what stands on this package and the package itself."""

from __future__ import annotations

from itertools import count
from typing import Any

from ._engine import (
    EngineOptions,
    apply_event,
    create_instance,
    delete_instance,
    flush_all,
    put_machine,
)
from ._entries import ENTRY_KINDS, Entry, decode_entry, encode_entry
from ._results import Repeat, WriteResult, result_of
from ._state import State

__all__ = ["MemoryEngine"]


class MemoryEngine:
    """Decides, logs in memory and evolves, as storage does on disk.

    `now` is the clock in Unix milliseconds and moves only by hand; generated ids count up; offsets
    rise by 100. `log` holds (kind, payload, offset).
    """

    def __init__(self, options: EngineOptions | None = None) -> None:
        self.state = State(journal=True)
        self.options = options or EngineOptions()
        self.now = 1_700_000_000_000
        self.head = 0
        self.log: list[tuple[int, bytes, int]] = []
        self._ids = count(1)

    def append(self, entry: Entry) -> int:
        """Log and evolve an entry; return its offset."""
        payload = encode_entry(entry)
        self.head += 100
        self.log.append((ENTRY_KINDS[type(entry)], payload, self.head))
        self.state.evolve(entry, self.head)
        return self.head

    def put_machine(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out a command; the arguments are those of decide after the clock."""
        return self._run(put_machine(self.state, self.options, self.now, *args, **kwargs))

    def create(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out a command; the arguments are those of decide after `new_id`."""
        return self._run(
            create_instance(self.state, self.options, self.now, self._new_id, *args, **kwargs)
        )

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out a command; the arguments are those of decide after the clock."""
        return self._run(apply_event(self.state, self.options, self.now, *args, **kwargs))

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out a command; the arguments are those of decide after the clock."""
        return self._run(delete_instance(self.state, self.options, self.now, *args, **kwargs))

    def flush_all(self) -> Any:
        """Carry out a command."""
        return self._run(flush_all(self.state, self.options, self.now))

    def rollback(self, after: int) -> None:
        """Undo and forget all entries behind an offset."""
        self.state.rollback(after)
        while self.log and self.log[-1][2] > after:
            self.log.pop()

    def replayed(self) -> State:
        """Return the state that the log makes from nothing."""
        state = State()
        for kind, payload, offset in self.log:
            state.evolve(decode_entry(kind, payload), offset)
        return state

    def _run(self, decided: Entry | Repeat) -> WriteResult:
        if isinstance(decided, Repeat):
            return decided.result
        return result_of(self.state, decided, self.append(decided))

    def _new_id(self) -> str:
        return f"generated-{next(self._ids)}"
