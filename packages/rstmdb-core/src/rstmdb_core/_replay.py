"""Taking in what a log holds: decode and evolve, many records in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ._entries import ENTRY_DECODERS, ENTRY_KINDS, UNREADABLE, Entry, decode_entry
from ._errors import MalformedEntry
from ._evolve import EVOLVE

if TYPE_CHECKING:
    from ._state import State


class Logged(Protocol):
    """A record of a log. `legacy` tells that the original wrote it."""

    @property
    def kind(self) -> int:
        """What it is, see ENTRY_KINDS."""

    @property
    def payload(self) -> bytes:
        """The entry, encoded."""

    @property
    def offset(self) -> int:
        """Its position in the log."""

    @property
    def legacy(self) -> bool:
        """Whether the original wrote it, as JSON."""


_STEPS: Final[dict[int, tuple[Callable[[bytes], Entry], Callable[[State, Any, int], None]]]] = {
    kind: (ENTRY_DECODERS[kind].decode, EVOLVE[cls]) for cls, kind in ENTRY_KINDS.items()
}


def replay(state: State, records: Iterable[Logged]) -> None:
    """Decode records and evolve the state by each, in order; offsets rise.

    As `decode_entry` and `State.evolve` do for each, with fewer calls. Raises MalformedEntry for
    the first that holds no entry; its `done` tells how many were taken in before.
    """
    for done, record in enumerate(records):
        try:
            if record.legacy:
                entry = decode_entry(record.kind, record.payload, legacy=True)
                evolve = EVOLVE[type(entry)]
            else:
                decode, evolve = _STEPS[record.kind]
                entry = decode(record.payload)
        except UNREADABLE:
            try:
                decode_entry(record.kind, record.payload, record.legacy)  # says what is wrong
            except MalformedEntry as error:
                error.done = done
                raise
            raise
        evolve(state, entry, record.offset)
