"""A real server for a test: its URL, a crash, and a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rstmdb_server.testing import ServerProcess

from ._clock import Clock

__all__ = ["RunningServer"]

CLOCK_VARIABLE = "RSTMDB_TEST_CLOCK"
"""Where the file of the clock is, for _clocked; no setting of the server."""


class RunningServer(ServerProcess):
    """A server process on 127.0.0.1, on a free port that stays the same over restarts."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, clock: Clock | None = None
    ) -> None:
        if clock is None:
            super().__init__(folder, settings)
        else:
            super().__init__(
                folder,
                {**settings, CLOCK_VARIABLE: str(clock.path)},
                module="rstmdb_server.pytest_plugin._clocked",
            )

    @property
    def url(self) -> str:
        """What clients take: rstmdb://127.0.0.1:PORT, rstmdbs:// where the settings say TLS."""
        tls = self._env.get("RSTMDB_TLS_ENABLED", "").lower() in ("true", "1", "yes")
        return f"{'rstmdbs' if tls else 'rstmdb'}://{self.address}"

    def __enter__(self) -> RunningServer:
        """Start it."""
        self.start()
        return self

    def crash(self) -> None:
        """Kill it with SIGKILL and start it again: what was acknowledged is there."""
        self.kill()
        self.start()

    def restart(self) -> None:
        """Stop it properly and start it again."""
        self.stop()
        self.start()

    def flush_all(self) -> None:
        """Empty the database. Raises RuntimeError where the settings do not allow it."""
        with self.connect() as stream, stream.makefile("rb") as answers:
            stream.sendall(b'{"id":"1","op":"FLUSH_ALL"}\n')
            answer = json.loads(answers.readline() or b"{}")
        if answer.get("status") != "ok":
            raise RuntimeError(f"the database can't be emptied: {answer.get('error', answer)}")
