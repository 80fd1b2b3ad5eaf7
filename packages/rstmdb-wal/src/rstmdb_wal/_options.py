"""When the log syncs, and the other settings of a log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

PolicyKind = Literal["every_write", "every_n", "every_ms", "never"]


@dataclass(frozen=True, slots=True)
class FsyncPolicy:
    """When written records are synced. Made by the class methods.

    ``kind`` is the policy's name, ``n`` its number: records for every_n, milliseconds for
    every_ms, 0 for the two others.
    """

    kind: PolicyKind
    n: int = 0

    @classmethod
    def every_write(cls) -> FsyncPolicy:
        """Sync every flush; a record is released once it is synced."""
        return cls("every_write")

    @classmethod
    def every_n(cls, n: int) -> FsyncPolicy:
        """Sync before ``n`` (at least 1) released records are unsynced."""
        return cls("every_n", _positive(n))

    @classmethod
    def every_ms(cls, ms: int) -> FsyncPolicy:
        """Sync before a released record has been unsynced for ``ms`` (at least 1) ms."""
        return cls("every_ms", _positive(ms))

    @classmethod
    def never(cls) -> FsyncPolicy:
        """Leave it to the operating system, but for rotation, close and ``force_sync``."""
        return cls("never")

    @classmethod
    def parse(cls, text: str) -> FsyncPolicy:
        """Read ``every_write``, ``every_n:100``, ``every_ms:50`` or ``never``.

        Raises ``ValueError`` for anything else.
        """
        kind, colon, number = text.partition(":")
        if kind in ("every_write", "never") and not colon:
            return cls(cast("PolicyKind", kind))
        if kind in ("every_n", "every_ms") and number.isascii() and number.isdigit():
            return cls(cast("PolicyKind", kind), _positive(int(number)))
        raise ValueError(f"not an fsync policy: {text!r}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.n}" if self.n else self.kind


def _positive(n: int) -> int:
    if n < 1:
        raise ValueError("an fsync policy's number is at least 1")
    return n


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Settings of a log.

    ``segment_bytes``: a segment is closed before it would pass this size (at least 1024).
    ``compress_from_bytes``: payloads of this size or more are zstd-compressed; 0 never.
    ``preallocate_bytes``: how far ahead a segment is filled with zeros, which makes a sync
    cheaper by about a quarter, as the file does not grow with every write; 0 never.
    ``recovery``: "strict" refuses a damaged log, "skip_corrupt" goes on past the damage.
    """

    segment_bytes: int = 64 * 1024 * 1024
    policy: FsyncPolicy = field(default_factory=FsyncPolicy.every_write)
    compress_from_bytes: int = 4096
    preallocate_bytes: int = 1024 * 1024
    recovery: Literal["strict", "skip_corrupt"] = "strict"

    def __post_init__(self) -> None:
        if not 1024 <= self.segment_bytes <= 1 << 39:
            raise ValueError("segment_bytes must lie between 1024 and 2**39")
        if self.compress_from_bytes < 0 or self.preallocate_bytes < 0:
            raise ValueError("compress_from_bytes and preallocate_bytes must not be negative")
        if self.recovery not in ("strict", "skip_corrupt"):
            raise ValueError(f"not a recovery mode: {self.recovery!r}")
