"""What completion asks the server: quickly, seldom, and without ever raising."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rstmdb_client import SyncClient

    from .session import Session

__all__ = ["Lookup"]

PATIENCE_SECS = 1.0
"""How long a server may take to answer before there is nothing to offer."""

KEEP_SECS = 2.0
PAGE = 1000
"""Instances looked through: the oldest and the newest so many."""


class Lookup:
    """Reads, on a connection of its own, whose answers are kept for a moment.

    `ask` is any operation that reads: it takes its name and params and returns its result, or
    raises. Threads may share it.
    """

    def __init__(
        self,
        ask: Callable[[str, dict[str, Any]], dict[str, Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
        keep_secs: float = KEEP_SECS,
    ) -> None:
        self._ask = ask
        self._client: SyncClient | None = None
        self._clock = clock
        self._keep_secs = keep_secs
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    @classmethod
    def of(cls, session: Session) -> Lookup:
        """Answers of the session's server. Raises UsageError."""
        from rstmdb_client import SyncClient

        target = session.target().with_options(
            connect_timeout=PATIENCE_SECS, request_timeout=PATIENCE_SECS, retry_timeout=0.0
        )
        client = SyncClient(target)
        lookup = cls(client.call)
        lookup._client = client
        return lookup

    def close(self) -> None:
        """Close the connection, if this has one of its own."""
        if self._client is not None:
            self._client.close()

    def forget(self) -> None:
        """Ask anew: something may have changed. Waits for no answer that is on its way."""
        self._kept = {}

    def result(self, op: str, **params: Any) -> dict[str, Any]:
        """The result of an operation; empty when there is none, for whatever reason."""
        key = json.dumps([op, params], sort_keys=True)
        with self._lock:
            kept = self._kept
            at, result = kept.get(key, (float("-inf"), {}))
            if self._clock() - at < self._keep_secs:
                return result
            try:
                result = self._ask(op, params)
            except Exception:  # noqa: BLE001 (no answer is no completion, and never an error)
                result = {}
            kept[key] = self._clock(), result
            return result

    def machines(self) -> dict[str, list[int]]:
        """Names of machines, and their versions."""
        items = self.result("LIST_MACHINES").get("items", [])
        return {item["machine"]: item["versions"] for item in items}

    def definition(self, machine: str, version: int | None = None) -> dict[str, Any]:
        """A machine's definition, empty when it is not known."""
        named = {"machine": machine} | ({} if version is None else {"version": version})
        found: dict[str, Any] = self.result("GET_MACHINE", **named).get("definition", {})
        return found

    def instances(self, **filters: str) -> dict[str, tuple[str, str]]:
        """Ids of instances, with machine and state; of very many, the oldest and the newest."""
        pages = [self.result("LIST_INSTANCES", limit=PAGE, **filters)]
        if pages[0].get("has_more"):
            begin = max(PAGE, pages[0]["total"] - PAGE)
            pages.append(self.result("LIST_INSTANCES", limit=PAGE, offset=begin, **filters))
        return {
            item["id"]: (item["machine"], item["state"])
            for page in pages
            for item in page.get("instances", [])
        }

    def allowed(self, instance_id: str) -> dict[str, str]:
        """Events that an instance may take now, and where each leads."""
        instance = self.result("GET_INSTANCE", instance_id=instance_id)
        if not instance:
            return {}
        definition = self.definition(instance["machine"], instance["version"])
        found: dict[str, list[str]] = {}
        for transition in definition.get("transitions", []):
            if instance["state"] in transition["from"]:
                guard = transition.get("guard")
                leads = f"{instance['state']} → {transition['to']}"
                found.setdefault(transition["event"], []).append(
                    f"{leads} if {guard}" if guard else leads
                )
        return {event: "; ".join(ways) for event, ways in found.items()}
