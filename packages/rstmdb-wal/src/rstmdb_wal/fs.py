"""The file system as the log and its neighbours see it, small enough for a test to replace."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

from rstmdb_wal._errors import DirectoryLocked

__all__ = [
    "File",
    "FileSystem",
    "Lock",
    "OsFileSystem",
    "copy_range",
    "read_bytes",
    "read_full",
    "replace_file",
    "write_full",
]

CHUNK_BYTES = 1024 * 1024


class File(Protocol):
    """An open file. Every method raises ``OSError``; counts may be short, as POSIX allows."""

    def pread(self, size: int, position: int) -> bytes:
        """Return up to ``size`` bytes from ``position``; empty at the end of the file."""
        ...

    def pwrite(self, data: bytes | memoryview, position: int) -> int:
        """Write at ``position``; return how many bytes were taken."""
        ...

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""
        ...

    def fdatasync(self) -> None:
        """Put data, and the size if it grew, on disk."""
        ...

    def fsync(self) -> None:
        """Put data and metadata on disk."""
        ...

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def close(self) -> None:
        """Close; without a sync."""
        ...


class Lock(Protocol):
    """A held lock file."""

    def release(self) -> None:
        """Give the lock up. The file stays."""
        ...


class FileSystem(Protocol):
    """Files and directories. Every method raises ``OSError``."""

    def create(self, path: Path) -> File:
        """Create the file, or empty an existing one; open it to read and write."""
        ...

    def open_append(self, path: Path) -> File:
        """Open an existing file to read and write."""
        ...

    def open_read(self, path: Path) -> File:
        """Open an existing file to read."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Move a file over ``target``."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        ...

    def mkdir(self, path: Path) -> None:
        """Create one directory."""
        ...

    def listdir(self, path: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        ...

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file or directory."""
        ...

    def file_size(self, path: Path) -> int:
        """Return a file's size in bytes."""
        ...

    def fsync_dir(self, path: Path) -> None:
        """Put a directory's entries on disk."""
        ...

    def lock(self, path: Path) -> Lock:
        """Take the lock file without waiting. Raises ``DirectoryLocked``."""
        ...


class _OsFile:
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pread(self, size: int, position: int) -> bytes:
        return os.pread(self._fd, size, position)

    def pwrite(self, data: bytes | memoryview, position: int) -> int:
        return os.pwrite(self._fd, data, position)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def fdatasync(self) -> None:
        os.fdatasync(self._fd)

    def fsync(self) -> None:
        os.fsync(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)


class _OsLock:
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsFileSystem:
    """The operating system's files. Files are created for their owner and group (0640)."""

    __slots__ = ()

    def create(self, path: Path) -> File:
        """See ``FileSystem``."""
        return _OsFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640))

    def open_append(self, path: Path) -> File:
        """See ``FileSystem``."""
        return _OsFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def open_read(self, path: Path) -> File:
        """See ``FileSystem``."""
        return _OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def rename(self, source: Path, target: Path) -> None:
        """See ``FileSystem``."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """See ``FileSystem``."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """See ``FileSystem``."""
        path.mkdir(mode=0o750)

    def listdir(self, path: Path) -> list[str]:
        """See ``FileSystem``."""
        return sorted(entry.name for entry in path.iterdir())

    def exists(self, path: Path) -> bool:
        """See ``FileSystem``."""
        return path.exists()

    def file_size(self, path: Path) -> int:
        """See ``FileSystem``."""
        return path.stat().st_size

    def fsync_dir(self, path: Path) -> None:
        """See ``FileSystem``."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path) -> Lock:
        """See ``FileSystem``. The lock ends with the process, however that ends."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).strip()
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                pid = int(holder) if holder.isdigit() else None
                raise DirectoryLocked(str(path), pid) from error
            raise
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            os.close(fd)
            raise
        return _OsLock(fd)


def write_full(file: File, data: bytes, position: int) -> int:
    """Write all of ``data``, going on after short writes and EINTR; return the calls it took.

    Raises ``OSError``; a part may then have been written. A write that takes nothing counts as
    EIO, so that the loop ends.
    """
    try:
        taken = file.pwrite(data, position)  # all of it, as a rule
    except InterruptedError:
        taken = 0
    else:
        if taken == len(data):
            return 1
        if taken <= 0:
            raise OSError(errno.EIO, "a write took nothing")
    calls = 1
    view = memoryview(data)[taken:]
    position += taken
    while view:
        calls += 1
        try:
            taken = file.pwrite(view, position)
        except InterruptedError:
            continue
        if taken <= 0:
            raise OSError(errno.EIO, "a write took nothing")
        view = view[taken:]
        position += taken
    return calls


def read_full(file: File, size: int, position: int) -> bytes:
    """Read ``size`` bytes, or up to the end of the file. Raises ``OSError``."""
    pieces: list[bytes] = []
    while size > 0:
        try:
            piece = file.pread(size, position)
        except InterruptedError:
            continue
        if not piece:
            break
        if len(piece) == size and not pieces:
            return piece
        pieces.append(piece)
        size -= len(piece)
        position += len(piece)
    return b"".join(pieces)


def read_bytes(fs: FileSystem, path: Path) -> bytes:
    """Return a whole file. Raises ``OSError``."""
    file = fs.open_read(path)
    try:
        return read_full(file, file.size(), 0)
    finally:
        file.close()


def copy_range(source: File, start: int, end: int, target: File, position: int) -> None:
    """Copy bytes ``start`` to ``end`` of one file into another at ``position``, in chunks."""
    while start < end:
        piece = read_full(source, min(CHUNK_BYTES, end - start), start)
        if not piece:
            raise OSError(errno.EIO, "the file ends before what was to be copied")
        write_full(target, piece, position)
        start += len(piece)
        position += len(piece)


def replace_file(fs: FileSystem, path: Path, data: bytes) -> None:
    """Put ``data`` in the place of a file, durably and at once: all of it or the old one.

    Written to ``<name>.tmp``, synced, renamed, directory synced. Raises ``OSError``; the
    temporary file is gone then, as far as that works.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        file = fs.create(temporary)
        try:
            write_full(file, data, 0)
            file.fsync()
        finally:
            file.close()
        fs.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            fs.unlink(temporary)
        raise
    fs.fsync_dir(path.parent)
