"""Lines that were typed, kept in a file of their owner alone, without any that hold a token."""

from __future__ import annotations

import os
from pathlib import Path

from prompt_toolkit.history import FileHistory

from .words import split

__all__ = ["PrivateHistory", "is_secret"]

_OPTIONS = ("-t", "--token", "--url")


def is_secret(line: str) -> bool:
    """Whether a line may hold a token: of hash-token, of -t, --token and --url."""
    words = [word.text for word in split(line)]
    return "hash-token" in words or any(
        word in _OPTIONS
        or word.startswith(("--token=", "--tok", "--url="))
        or (word.startswith("-t") and not word.startswith("--"))
        for word in words
    )


class PrivateHistory(FileHistory):
    """A FileHistory that forgets secrets at once, and does without a file that can't be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError:
            path = Path(os.devnull)
        super().__init__(str(path))

    def append_string(self, string: str) -> None:
        """Keep a line, here and in the file, unless it is a secret."""
        if not is_secret(string):
            super().append_string(string)
