"""A command line on a real terminal: keys go in, and a screen is what comes out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

__all__ = ["Terminal"]

PATIENCE_SECS = 30.0


class _Screen(pyte.HistoryScreen):
    """A screen whose answers, such as the cursor's place, go to the program."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], object]) -> None:
        super().__init__(columns, rows, history=1000)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """rstmdb-cli with these arguments, on a terminal of so many rows and columns.

    `home` is where its history goes. It answers what a terminal is asked (its cursor's place).
    """

    def __init__(
        self, home: Path, *arguments: str, rows: int = 30, columns: int = 110, **env: str
    ) -> None:
        inherited = {n: v for n, v in os.environ.items() if n not in ("NO_COLOR", "COLUMNS")}
        self.process: pexpect.spawn[bytes] = pexpect.spawn(
            sys.executable,
            ["-m", "rstmdb_cli", *arguments],
            env=inherited | {"TERM": "xterm-256color", "HOME": str(home)} | env,
            dimensions=(rows, columns),
        )
        self.screen = _Screen(columns, rows, self.process.send)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def text(self) -> str:
        """What the screen shows."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def send(self, keys: str) -> Terminal:
        """Press keys."""
        self.process.send(keys)
        return self

    def shows(self, text: str, *, gone: bool = False) -> str:
        """Wait until the screen shows a text, or no longer does; the screen then."""
        deadline = time.monotonic() + PATIENCE_SECS
        while (text in self.text()) == gone:
            if time.monotonic() > deadline or not self.read():
                state = "still there" if gone else "not there"
                raise AssertionError(f"{text!r} is {state}; the screen:\n{self.text()}")
        return self.text()

    def read(self, patience_secs: float = 1.0) -> bool:
        """Take in what it writes within that time; False when it has ended."""
        try:
            data = self.process.read_nonblocking(1 << 16, patience_secs)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True

    def ends(self) -> int:
        """Wait for its end; the exit code."""
        while self.read():
            pass
        self.process.close()
        code = self.process.exitstatus
        assert code is not None, f"killed by signal {self.process.signalstatus}"
        return code

    def close(self) -> None:
        """Kill it if it still runs."""
        self.process.close(force=True)
