"""Where things lie in a data directory.

data/
  LOCK                        held by the one process that owns the directory
  wal/0000000000000001.wal    log segments
  snapshots/index.json
  snapshots/snap-*.snap
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one data directory."""

    root: Path

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.root / "LOCK"

    @property
    def wal(self) -> Path:
        """The folder of log segments."""
        return self.root / "wal"

    @property
    def snapshots(self) -> Path:
        """The folder of snapshots."""
        return self.root / "snapshots"

    @property
    def index(self) -> Path:
        """The list of snapshots."""
        return self.snapshots / "index.json"

    def snapshot(self, snapshot_id: str) -> Path:
        """The file of one snapshot; ids are made by the database, never by a client."""
        return self.snapshots / f"{snapshot_id}.snap"
