"""A file system in memory that can lose power, crash, fill up and fail, from a seed.

It keeps two images: what processes see, and what is on disk. A write goes to the first; only
``fsync`` and ``fdatasync`` of the file bring it to the second. Likewise creating, renaming and
unlinking names, which ``fsync_dir`` makes durable. Everything that was not synced may be lost
at a power loss: wholly, in part, in any order.

    fs = SimulatedFileSystem(seed=7)
    fs.inject("fdatasync", 3, errno.EIO)      # the third fdatasync from now on fails
    ... the code under test ...
    after = fs.power_loss()                   # what a machine finds that starts again

It is pessimistic where POSIX allows it: a synced file whose directory was not synced can be
gone; a failed sync leaves its pages clean, so that later syncs do not write them.
"""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rstmdb_wal._errors import DirectoryLocked
from rstmdb_wal._log import Log
from rstmdb_wal._options import LogOptions
from rstmdb_wal._record import Record
from rstmdb_wal._recovery import Recovery
from rstmdb_wal._report import RecoveryReport

__all__ = [
    "Call",
    "Opened",
    "SimulatedCrash",
    "SimulatedFile",
    "SimulatedFileSystem",
    "SimulatedLock",
    "open_log",
]

_SECTOR_BYTES = 512


class SimulatedCrash(BaseException):
    """The simulated process dies here. No ``except Exception`` may stop it."""


class Call(NamedTuple):
    """One call as the trace keeps it; ``size`` is what it was about, in bytes, where it has one."""

    number: int
    operation: str
    path: str
    size: int


class _Op(NamedTuple):
    """A change to a file that is not synced. A truncation has no data."""

    position: int
    data: bytes | None


class _NameOp(NamedTuple):
    """A change to a directory that is not synced: ``node`` appears at ``name`` (None: nothing)."""

    name: str
    node: _Inode | None
    gone: str | None  # the old name, for a rename


@dataclass(slots=True, eq=False)
class _Inode:
    seen: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    pending: list[_Op] = field(default_factory=list)

    def apply(self, op: _Op) -> None:
        _apply(self.seen, op)
        self.pending.append(op)

    def sync(self) -> None:
        for op in self.pending:
            _apply(self.disk, op)
        self.pending.clear()


@dataclass(slots=True)
class _Directory:
    seen: dict[str, _Inode] = field(default_factory=dict)
    disk: dict[str, _Inode] = field(default_factory=dict)
    pending: list[_NameOp] = field(default_factory=list)
    on_disk: bool = False  # whether the directory's own name is


@dataclass(slots=True)
class _Fault:
    operation: str
    countdown: int
    error: int  # errno; 0: a short write
    lasting: bool
    short: int = 0


def _apply(image: bytearray, op: _Op) -> None:
    if op.data is None:
        if op.position < len(image):
            del image[op.position :]
        else:
            image.extend(bytes(op.position - len(image)))
        return
    if op.position > len(image):
        image.extend(bytes(op.position - len(image)))
    image[op.position : op.position + len(op.data)] = op.data


class SimulatedFile:
    """An open file of a ``SimulatedFileSystem``; see ``rstmdb_wal.fs.File``."""

    __slots__ = ("_fs", "_node", "_open", "_path", "_writable")

    def __init__(self, fs: SimulatedFileSystem, node: _Inode, path: str, *, writable: bool) -> None:
        self._fs = fs
        self._node = node
        self._path = path
        self._open = True
        self._writable = writable

    def _call(self, operation: str, size: int = 0, *, write: bool = False) -> int:
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
                self._node.apply(_Op(position, part))
            raise
        growth = position + taken - len(self._node.seen)
        taken -= self._fs._claim(max(growth, 0), self._path, taken)
        self._node.apply(_Op(position, whole[:taken]))
        return taken

    def truncate(self, size: int) -> None:
        """See ``File``."""
        self._call("truncate", size, write=True)
        self._node.apply(_Op(size, None))

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


class SimulatedFileSystem:
    """See the module. The same seed and the same calls give the same losses.

    ``root`` is a directory that is there, durably. ``free_bytes`` is what files may still grow
    by (None: no limit); a write beyond takes what fits, the next one raises ENOSPC.
    ``calls`` counts, ``trace`` keeps the calls (``Call``) while ``tracing`` is true.
    ``crash_at`` is the number of the call that raises ``SimulatedCrash``: nothing works after
    that until ``crash`` or ``power_loss`` gives the file system of the next start.
    """

    def __init__(self, seed: int = 0, *, root: Path | str = "/data") -> None:
        self._random = random.Random(seed)
        self._directories: dict[str, _Directory] = {str(root): _Directory(on_disk=True)}
        self._root = str(root)
        self._moved: list[tuple[str, str]] = []  # directories renamed and not synced
        self._locks: set[str] = set()
        self._faults: list[_Fault] = []
        self._dead = False
        self.free_bytes: int | None = None
        self.calls = 0
        self.tracing = False
        self.trace: list[Call] = []
        self.crash_at: int | None = None

    # Faults

    def inject(self, operation: str, k: int, error: int, *, lasting: bool = False) -> None:
        """Let the ``k``-th call (from 1) of ``operation`` from now on fail with this errno.

        ``operation`` is a method's name, "any" for all of them; ``lasting``: so do all later
        ones. A failed "fsync" or "fdatasync" leaves the file's pages clean.
        """
        self._faults.append(_Fault(operation, k, error, lasting))

    def inject_short_write(self, k: int, count: int) -> None:
        """Let the ``k``-th pwrite from now on take only ``count`` bytes."""
        self._faults.append(_Fault("pwrite", k, 0, lasting=False, short=count))

    def clear_faults(self) -> None:
        """Forget what was injected and has not happened."""
        self._faults.clear()

    def _call(self, operation: str, path: str, size: int = 0) -> int:
        """Count a call, let faults happen; return the size that a write may take."""
        if self._dead:
            raise SimulatedCrash
        self.calls += 1
        if self.tracing:
            self.trace.append(Call(self.calls, operation, path, size))
        if self.calls == self.crash_at:
            self._dead = True
            raise SimulatedCrash
        for fault in self._faults[:]:
            if fault.operation not in (operation, "any"):
                continue
            fault.countdown -= 1
            if fault.countdown > 0:
                continue
            if not fault.lasting:
                self._faults.remove(fault)
            if not fault.error:
                return min(fault.short, size)
            raise OSError(fault.error, os.strerror(fault.error), path)
        return size

    def _claim(self, growth: int, path: str, size: int) -> int:
        """Take space from what is free; return how many bytes of a write do not fit."""
        if self.free_bytes is None:
            return 0
        missing = max(growth - self.free_bytes, 0)
        if missing and missing >= size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.free_bytes -= growth - missing
        return missing

    # The end of a process or a machine

    def crash(self) -> SimulatedFileSystem:
        """Return what the next process finds: all that was written; still not all is synced."""
        return self._next({}, lose=False)

    def power_loss(self) -> SimulatedFileSystem:
        """Return what is found after a power loss: all that was synced, and any part of the rest.

        Unsynced writes are lost, kept or torn at any byte, in any order; the sizes of files
        and unsynced names too. Where a size was kept and its data not, zeros are found.
        """
        return self._next({}, lose=True)

    def _next(self, copies: dict[_Inode, _Inode], *, lose: bool) -> SimulatedFileSystem:
        self._dead = True
        new = SimulatedFileSystem(self._random.getrandbits(64), root=self._root)
        new.free_bytes = self.free_bytes

        def copy(node: _Inode) -> _Inode:
            if node not in copies:
                if lose:
                    disk = self._settle(node)
                    copies[node] = _Inode(bytearray(disk), disk)
                else:
                    copies[node] = _Inode(
                        bytearray(node.seen), bytearray(node.disk), list(node.pending)
                    )
            return copies[node]

        directories = self._directories
        if not lose:
            new._moved = self._moved.copy()
        for source, target in reversed(self._moved if lose else ()):
            if self._random.random() < 0.5:
                directories = _renamed(directories, target, source)
        for path, directory in directories.items():
            if lose and not directory.on_disk and self._random.random() < 0.5:
                continue
            if str(PurePosixPath(path).parent) not in new._directories and path != self._root:
                continue
            if lose:
                names = self._surviving_names(directory)
                kept = {name: copy(node) for name, node in names.items()}
                new._directories[path] = _Directory(kept, dict(kept), on_disk=True)
                continue
            new._directories[path] = _Directory(
                {name: copy(node) for name, node in directory.seen.items()},
                {name: copy(node) for name, node in directory.disk.items()},
                [
                    _NameOp(op.name, copy(op.node) if op.node else None, op.gone)
                    for op in directory.pending
                ],
                on_disk=directory.on_disk,
            )
        return new

    def _surviving_names(self, directory: _Directory) -> dict[str, _Inode]:
        names = dict(directory.disk)
        chance = self._random.choice((0.0, 0.5, 1.0))
        for op in directory.pending:
            if self._random.random() < chance:
                _apply_name(names, op)
        return names

    def _settle(self, node: _Inode) -> bytearray:
        """Return the file with some legal part of what is not synced."""
        rand = self._random
        image = bytearray(node.disk)
        mode = rand.choice(("none", "all", "beginning", "some", "sectors"))
        pending = node.pending
        upto = rand.randint(0, len(pending))
        for number, op in enumerate(pending):
            if mode == "all" or (mode == "beginning" and number < upto):
                _apply(image, op)
            elif mode == "beginning" and number == upto and op.data is not None:
                _apply(image, _Op(op.position, op.data[: rand.randint(0, len(op.data))]))
            elif mode == "sectors" and op.data is not None:
                self._keep_sectors(image, op.position, op.data)
            elif mode in ("some", "sectors") and rand.random() < 0.5:
                _apply(image, op)
        longest = len(node.seen)
        if mode in ("some", "sectors") and len(image) < longest and rand.random() < 0.5:
            image.extend(bytes(longest - len(image)))
        return image

    def _keep_sectors(self, image: bytearray, position: int, data: bytes) -> None:
        """Keep some of the sectors of a write; sometimes one of them is torn at any byte."""
        rand = self._random
        end = position + len(data)
        at = position
        while at < end:
            stop = min((at // _SECTOR_BYTES + 1) * _SECTOR_BYTES, end)
            if rand.random() < 0.5:
                stop_at = rand.randint(at, stop) if rand.random() < 0.2 else stop
                _apply(image, _Op(at, data[at - position : stop_at - position]))
            at = stop

    # FileSystem

    def _directory(self, path: Path) -> _Directory:
        directory = self._directories.get(str(path))
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return directory

    def _node(self, path: Path) -> _Inode:
        node = self._directory(path.parent).seen.get(path.name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return node

    def create(self, path: Path) -> SimulatedFile:
        """See ``rstmdb_wal.fs.FileSystem``, also for the methods below."""
        self._call("create", str(path))
        directory = self._directory(path.parent)
        node = directory.seen.get(path.name)
        if node is None:
            node = _Inode()
            self._name(directory, _NameOp(path.name, node, None))
        else:
            node.apply(_Op(0, None))
        return SimulatedFile(self, node, str(path), writable=True)

    def open_append(self, path: Path) -> SimulatedFile:
        """Open to read and write."""
        self._call("open_append", str(path))
        return SimulatedFile(self, self._node(path), str(path), writable=True)

    def open_read(self, path: Path) -> SimulatedFile:
        """Open to read."""
        self._call("open_read", str(path))
        return SimulatedFile(self, self._node(path), str(path), writable=False)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file or a directory within one directory."""
        self._call("rename", str(source))
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
        if str(source) in self._directories:
            if str(target) in self._directories:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(target))
            self._directories = _renamed(self._directories, str(source), str(target))
            self._moved.append((str(source), str(target)))
            return
        node = self._node(source)
        self._name(self._directory(source.parent), _NameOp(target.name, node, source.name))

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        self._call("unlink", str(path))
        self._node(path)
        self._name(self._directory(path.parent), _NameOp(path.name, None, None))

    def _name(self, directory: _Directory, op: _NameOp) -> None:
        _apply_name(directory.seen, op)
        directory.pending.append(op)

    def mkdir(self, path: Path) -> None:
        """Create one directory; synced with its parent."""
        self._call("mkdir", str(path))
        self._directory(path.parent)
        if str(path) in self._directories:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._directories[str(path)] = _Directory()

    def listdir(self, path: Path) -> list[str]:
        """Return the names, sorted."""
        self._call("listdir", str(path))
        inside = [
            PurePosixPath(other).name
            for other in self._directories
            if PurePosixPath(other).parent == PurePosixPath(path) and other != str(path)
        ]
        return sorted([*self._directory(path).seen, *inside])

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file or directory."""
        self._call("exists", str(path))
        if str(path) in self._directories:
            return True
        parent = self._directories.get(str(path.parent))
        return parent is not None and path.name in parent.seen

    def file_size(self, path: Path) -> int:
        """Return the size in bytes."""
        self._call("file_size", str(path))
        return len(self._node(path).seen)

    def fsync_dir(self, path: Path) -> None:
        """Put the directory's names, and those of directories in it, on disk."""
        self._call("fsync_dir", str(path))
        directory = self._directory(path)
        directory.disk = dict(directory.seen)
        directory.pending.clear()
        self._moved = [move for move in self._moved if Path(move[0]).parent != path]
        for other, inner in self._directories.items():
            if PurePosixPath(other).parent == PurePosixPath(path):
                inner.on_disk = True

    def lock(self, path: Path) -> SimulatedLock:
        """Take a lock that ends with ``crash`` and ``power_loss``."""
        self._call("lock", str(path))
        if str(path) in self._locks:
            raise DirectoryLocked(str(path), os.getpid())
        directory = self._directory(path.parent)
        if path.name not in directory.seen:
            self._name(directory, _NameOp(path.name, _Inode(), None))
        self._locks.add(str(path))
        return SimulatedLock(self, str(path))

    # For tests, past all faults

    def random_bytes(self, count: int) -> bytes:
        """Return bytes from the seed."""
        return self._random.randbytes(count)

    def peek(self, path: Path | str) -> bytes:
        """Return a file's content as processes see it; no call is counted."""
        return bytes(self._node(Path(path)).seen)

    def poke(self, path: Path | str, data: bytes) -> None:
        """Put a file there, durably; no call is counted."""
        path = Path(path)
        node = _Inode(bytearray(data), bytearray(data))
        directory = self._directory(path.parent)
        directory.seen[path.name] = node
        directory.disk[path.name] = node

    def mkdir_now(self, path: Path | str) -> None:
        """Make a directory, durably; no call is counted."""
        self._directories[str(path)] = _Directory(on_disk=True)

    def forget(self, path: Path | str) -> None:
        """Remove a file, durably; no call is counted."""
        path = Path(path)
        directory = self._directory(path.parent)
        del directory.seen[path.name]
        directory.disk.pop(path.name, None)

    def names(self, path: Path | str) -> list[str]:
        """Return the files of a directory as processes see them; no call is counted."""
        return sorted(self._directory(Path(path)).seen)


def _renamed(directories: dict[str, _Directory], source: str, target: str) -> dict[str, _Directory]:
    """Return the directories with one of them, and all below it, under another name."""
    return {
        target + path[len(source) :] if path == source or path.startswith(f"{source}/") else path: d
        for path, d in directories.items()
    }


def _apply_name(names: dict[str, _Inode], op: _NameOp) -> None:
    if op.gone is not None and names.get(op.gone) is op.node:
        del names[op.gone]
    if op.node is None:
        names.pop(op.name, None)
    else:
        names[op.name] = op.node


class Opened(NamedTuple):
    """A log that ``open_log`` opened, all records it found, and the report."""

    log: Log
    records: list[Record]
    report: RecoveryReport


def open_log(
    fs: SimulatedFileSystem,
    options: LogOptions | None = None,
    *,
    directory: str = "/data/wal",
    after: int = 0,
    after_sequence: int = 0,
    database_id: bytes | None = None,
) -> Opened:
    """Recover a log and keep its records in a list. Raises as ``Recovery`` does.

    Without options nothing is preallocated, so that files end with their last record.
    """
    recovery = Recovery(
        directory,
        fs=fs,
        options=options if options is not None else LogOptions(preallocate_bytes=0),
        after=after,
        after_sequence=after_sequence,
        database_id=database_id,
        new_database_id=lambda: fs.random_bytes(16),
    )
    records = list(recovery)
    return Opened(recovery.finish(), records, recovery.report)
