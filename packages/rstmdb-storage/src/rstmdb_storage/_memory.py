"""Files in memory, behind the same interface as those on disk: what `:memory:` opens."""

from __future__ import annotations

import threading
from pathlib import Path

from rstmdb_wal import DirectoryLocked
from rstmdb_wal.fs import File, Lock

__all__ = ["MemoryFileSystem"]


class _MemoryFile:
    __slots__ = ("_data", "_lock")

    def __init__(self, data: bytearray, lock: threading.Lock) -> None:
        self._data = data
        self._lock = lock

    def pread(self, size: int, position: int) -> bytes:
        with self._lock:
            return bytes(self._data[position : position + size])

    def pwrite(self, data: bytes | memoryview, position: int) -> int:
        with self._lock:
            if position > len(self._data):
                self._data.extend(bytes(position - len(self._data)))
            self._data[position : position + len(data)] = data
        return len(data)

    def truncate(self, size: int) -> None:
        with self._lock:
            del self._data[size:]
            self._data.extend(bytes(max(0, size - len(self._data))))

    def fdatasync(self) -> None:
        """Memory is as safe as it gets."""

    fsync = fdatasync

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        """There is no descriptor to give back."""


class _MemoryLock:
    def release(self) -> None:
        """Nobody else can see these files."""


class MemoryFileSystem:
    """A file system of one database and one process; gone when both are."""

    def __init__(self) -> None:
        self._files: dict[Path, bytearray] = {}
        self._folders = {Path("/")}
        self._lock = threading.Lock()

    def create(self, path: Path) -> File:
        """See FileSystem."""
        self._files[path] = bytearray()
        return self.open_append(path)

    def open_append(self, path: Path) -> File:
        """See FileSystem."""
        if path not in self._files:
            raise FileNotFoundError(str(path))
        return _MemoryFile(self._files[path], self._lock)

    open_read = open_append

    def rename(self, source: Path, target: Path) -> None:
        """See FileSystem."""
        if source not in self._files:
            raise FileNotFoundError(str(source))
        self._files[target] = self._files.pop(source)

    def unlink(self, path: Path) -> None:
        """See FileSystem."""
        if self._files.pop(path, None) is None:
            raise FileNotFoundError(str(path))

    def mkdir(self, path: Path) -> None:
        """See FileSystem."""
        self._folders.add(path)

    def listdir(self, path: Path) -> list[str]:
        """See FileSystem."""
        return sorted(
            entry.name for entry in (*self._files, *self._folders) if entry.parent == path
        )

    def exists(self, path: Path) -> bool:
        """See FileSystem."""
        return path in self._files or path in self._folders

    def file_size(self, path: Path) -> int:
        """See FileSystem."""
        return self.open_read(path).size()

    def fsync_dir(self, path: Path) -> None:
        """See FileSystem."""

    def lock(self, path: Path) -> Lock:
        """See FileSystem."""
        if path in self._files:
            raise DirectoryLocked(str(path), None)
        self._files[path] = bytearray()
        return _MemoryLock()
