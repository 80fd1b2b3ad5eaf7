"""A clock that a test moves, for databases in this process and in others."""

from __future__ import annotations

import mmap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

__all__ = ["Clock"]

START_MS = 1_700_000_000_000
"""2023-11-14T22:13:20Z: the same in every run, so that a test replays."""

_BYTES = 8


class Clock:
    """Milliseconds since 1970, UTC, that stand still until the test moves them.

    The time lies in a file that is mapped into memory, so that a server in another process
    goes by it without a delay. A new file begins at `START_MS`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(_BYTES))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _BYTES)
        # One aligned machine word: it is read and written as a whole.
        self._view = memoryview(self._map).cast("q")
        if self._view[0] == 0:
            self._view[0] = START_MS

    def __call__(self) -> int:
        """The time, as `Database.open(clock=...)` wants it."""
        return int(self._view[0])

    @property
    def now_ms(self) -> int:
        """The time in milliseconds since 1970; it may be set, also backwards."""
        return self()

    @now_ms.setter
    def now_ms(self, value: int) -> None:
        self._view[0] = value

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self() / 1000, UTC)

    def advance(self, **units: float) -> None:
        """Move on by what timedelta takes: `advance(hours=25)`, `advance(milliseconds=1)`."""
        self.now_ms += timedelta(**units) // timedelta(milliseconds=1)

    def close(self) -> None:
        """Unmap the file."""
        self._view.release()
        self._map.close()

    def __enter__(self) -> Clock:
        """The clock itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unmap the file."""
        self.close()
