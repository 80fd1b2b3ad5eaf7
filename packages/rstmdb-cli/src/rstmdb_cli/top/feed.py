"""Where a live view gets its facts: a watch of all, and questions now and then."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rstmdb_client import SyncClient, SyncWatch
    from rstmdb_protocol import EventMessage

__all__ = ["Feed", "states_of"]

_MOST_QUESTIONS = 200
"""Pairs of machine and state that are counted at once; of more machines the first ones."""


class Feed:
    """Events from a thread of their own; an error there is raised by `drained`."""

    def __init__(self, watch: SyncWatch) -> None:
        self._watch = watch
        self._events: queue.SimpleQueue[EventMessage | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Feed:
        """Begin. Raises what beginning a watch raises."""
        self._watch.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch and its thread."""
        self._watch.close()
        self._thread.join()

    def _read(self) -> None:
        try:
            for event in self._watch:
                self._events.put(event)
        except Exception as error:  # noqa: BLE001 (raised where it can be reported)
            self._events.put(error)

    def drained(self) -> list[EventMessage]:
        """The events since the last call. Raises what ended the watch."""
        found = []
        for _ in range(self._events.qsize()):
            item = self._events.get()
            if isinstance(item, Exception):
                raise item
            found.append(item)
        return found


def states_of(client: SyncClient) -> dict[str, dict[str, int]]:
    """How many instances are in each state of each machine, over all its versions."""
    found: dict[str, dict[str, int]] = {}
    questions = 0
    for item in client.list_machines().items:
        names = _states(client, item.machine, item.versions)
        questions += len(names)
        if questions > _MOST_QUESTIONS:
            break
        counted = {
            name: client.list_instances(machine=item.machine, state=name, limit=0).total
            for name in names
        }
        found[item.machine] = {name: count for name, count in counted.items() if count}
    return found


def _states(client: SyncClient, machine: str, versions: list[int]) -> list[str]:
    """The states of the newest version, then those that only older ones have."""
    names: dict[str, None] = {}
    for version in sorted(versions, reverse=True)[:3]:
        definition: Any = client.get_machine(machine, version).definition
        names.update(dict.fromkeys(definition["states"]))
    return list(names)
