"""What the server's metrics said during a run: memory over time, and when it did maintenance."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from types import TracebackType
from typing import Any, Final

from ._errors import BenchError

__all__ = ["Scraper", "read_metrics"]

MAINTENANCE: Final = {
    "compaction": "rstmdb_compaction_duration_seconds",
    "snapshot": "rstmdb_snapshot_duration_seconds",
}
MEMORY: Final = "process_resident_memory_bytes"
SEGMENTS: Final = "rstmdb_wal_segments"
TIMEOUT_SECONDS: Final = 5


def read_metrics(url: str) -> dict[str, float]:
    """The metrics without labels of one scrape, by name. Raises BenchError."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 (the user's own URL)
            text = answer.read().decode()
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise BenchError(
            f"can't read metrics at {url}: {reason}; are metrics.enabled and metrics.bind_addr set?"
        ) from None
    values: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and "{" not in name and not name.startswith("#"):
            values[name] = float(value)
    return values


class Scraper:
    """Reads metrics every `interval_seconds` on a thread of its own while the context is open.

    Raises BenchError on entry when there are none; a scrape that fails later is left out.
    """

    def __init__(self, url: str, interval_seconds: float = 0.1) -> None:
        self._url = url
        self._interval = interval_seconds
        self._done = threading.Event()
        self._samples: list[tuple[int, dict[str, float]]] = []
        self._thread = threading.Thread(target=self._scrape, daemon=True)

    def __enter__(self) -> Scraper:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        values = read_metrics(self._url)
        self._samples.append((time.monotonic_ns(), values))

    def _scrape(self) -> None:
        while not self._done.wait(self._interval):
            try:
                self._sample()
            except BenchError:
                continue

    def report(self, started_ns: int) -> dict[str, Any]:
        """Marks and memory, in seconds from `started_ns` of the monotonic clock."""
        return {
            "marks": [
                mark
                for kind, metric in MAINTENANCE.items()
                for mark in self._marks(kind, metric, started_ns)
            ],
            "at_seconds": [round((at - started_ns) / 1e9, 3) for at, _ in self._samples],
            "resident_bytes": [int(values.get(MEMORY, 0)) for _, values in self._samples],
            "segments": [int(values.get(SEGMENTS, 0)) for _, values in self._samples],
        }

    def _marks(self, kind: str, metric: str, started_ns: int) -> list[dict[str, Any]]:
        """One mark for each pair of samples between which some work ended."""
        marks = []
        for (_, before), (at, after) in zip(self._samples, self._samples[1:], strict=False):
            count = after.get(f"{metric}_count", 0) - before.get(f"{metric}_count", 0)
            took = after.get(f"{metric}_sum", 0) - before.get(f"{metric}_sum", 0)
            if count > 0:
                end = (at - started_ns) / 1e9
                marks.append({"kind": kind, "from": round(end - took, 3), "to": round(end, 3)})
        return marks
