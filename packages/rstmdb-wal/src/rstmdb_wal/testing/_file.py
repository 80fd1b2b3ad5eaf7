"""Open files and locks of a simulated file system."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rstmdb_wal.testing._image import Inode, Op, SimulatedCrash

if TYPE_CHECKING:
    from rstmdb_wal.testing._file_system import SimulatedFileSystem


class SimulatedFile:
    """An open file of a ``SimulatedFileSystem``; see ``rstmdb_wal.fs.File``."""

    __slots__ = ("_fs", "_node", "_open", "_path", "_writable")

    def __init__(self, fs: SimulatedFileSystem, node: Inode, path: str, *, writable: bool) -> None:
        self._fs = fs
        self._node = node
        self._path = path
        self._open = True
        self._writable = writable

    def _call(self, operation: str, size: int = 0, *, write: bool = False) -> int:
        if self._fs._dead:
            raise SimulatedCrash  # also where the crash came as this file was being closed
        if not self._open or (write and not self._writable):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        return self._fs._call(operation, self._path, size)

    def pread(self, size: int, position: int) -> bytes:
        """See ``File``."""
        self._call("pread", size)
        return bytes(self._node.seen[position : position + size])

    def pwrite(self, data: bytes | memoryview, position: int) -> int:
        """See ``File``. A crash in this call leaves any beginning of the data."""
        whole = bytes(data)
        try:
            taken = self._call("pwrite", len(whole), write=True)
        except SimulatedCrash:
            part = whole[: self._fs._random.randint(0, len(whole))]
            if part:
                self._node.apply(Op(position, part))
            raise
        growth = position + taken - len(self._node.seen)
        taken -= self._fs._claim(max(growth, 0), self._path, taken)
        self._node.apply(Op(position, whole[:taken]))
        return taken

    def truncate(self, size: int) -> None:
        """See ``File``."""
        self._call("truncate", size, write=True)
        self._node.apply(Op(size, None))

    def fdatasync(self) -> None:
        """See ``File``."""
        self._sync("fdatasync")

    def fsync(self) -> None:
        """See ``File``."""
        self._sync("fsync")

    def _sync(self, operation: str) -> None:
        try:
            self._call(operation)
        except OSError:
            # Some of it got there, the rest never will: the pages count as clean from now on.
            self._node.disk = self._fs._settle(self._node)
            self._node.pending.clear()
            raise
        self._node.sync()

    def size(self) -> int:
        """See ``File``."""
        self._call("size")
        return len(self._node.seen)

    def close(self) -> None:
        """See ``File``."""
        try:
            self._call("close")
        finally:
            self._open = False


class SimulatedLock:
    """A lock of a ``SimulatedFileSystem``."""

    __slots__ = ("_fs", "_path")

    def __init__(self, fs: SimulatedFileSystem, path: str) -> None:
        self._fs = fs
        self._path = path

    def release(self) -> None:
        """See ``rstmdb_wal.fs.Lock``."""
        self._fs._locks.discard(self._path)
