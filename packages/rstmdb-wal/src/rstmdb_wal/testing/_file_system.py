"""The simulated file system: its calls, its faults, and what a crash or power loss leaves."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path, PurePosixPath

from rstmdb_wal._errors import DirectoryLocked
from rstmdb_wal.testing._file import SimulatedFile, SimulatedLock
from rstmdb_wal.testing._image import (
    Call,
    Directory,
    Fault,
    Inode,
    NameOp,
    Op,
    SimulatedCrash,
    apply,
    apply_name,
    renamed,
)

_SECTOR_BYTES = 512


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
        self._directories: dict[str, Directory] = {str(root): Directory(on_disk=True)}
        self._root = str(root)
        self._moved: list[tuple[str, str]] = []  # directories renamed and not synced
        self._locks: set[str] = set()
        self._faults: list[Fault] = []
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
        self._faults.append(Fault(operation, k, error, lasting))

    def inject_short_write(self, k: int, count: int) -> None:
        """Let the ``k``-th pwrite from now on take only ``count`` bytes."""
        self._faults.append(Fault("pwrite", k, 0, lasting=False, short=count))

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

    def _next(self, copies: dict[Inode, Inode], *, lose: bool) -> SimulatedFileSystem:
        self._dead = True
        new = SimulatedFileSystem(self._random.getrandbits(64), root=self._root)
        new.free_bytes = self.free_bytes

        def copy(node: Inode) -> Inode:
            if node not in copies:
                if lose:
                    disk = self._settle(node)
                    copies[node] = Inode(bytearray(disk), disk)
                else:
                    copies[node] = Inode(
                        bytearray(node.seen), bytearray(node.disk), list(node.pending)
                    )
            return copies[node]

        directories = self._directories
        if not lose:
            new._moved = self._moved.copy()
        for source, target in reversed(self._moved if lose else ()):
            if self._random.random() < 0.5:
                directories = renamed(directories, target, source)
        for path, directory in directories.items():
            if lose and not directory.on_disk and self._random.random() < 0.5:
                continue
            if str(PurePosixPath(path).parent) not in new._directories and path != self._root:
                continue
            if lose:
                names = self._surviving_names(directory)
                kept = {name: copy(node) for name, node in names.items()}
                new._directories[path] = Directory(kept, dict(kept), on_disk=True)
                continue
            new._directories[path] = Directory(
                {name: copy(node) for name, node in directory.seen.items()},
                {name: copy(node) for name, node in directory.disk.items()},
                [
                    NameOp(op.name, copy(op.node) if op.node else None, op.gone)
                    for op in directory.pending
                ],
                on_disk=directory.on_disk,
            )
        return new

    def _surviving_names(self, directory: Directory) -> dict[str, Inode]:
        names = dict(directory.disk)
        chance = self._random.choice((0.0, 0.5, 1.0))
        for op in directory.pending:
            if self._random.random() < chance:
                apply_name(names, op)
        return names

    def _settle(self, node: Inode) -> bytearray:
        """Return the file with some legal part of what is not synced."""
        rand = self._random
        image = bytearray(node.disk)
        mode = rand.choice(("none", "all", "beginning", "some", "sectors"))
        pending = node.pending
        upto = rand.randint(0, len(pending))
        for number, op in enumerate(pending):
            if mode == "all" or (mode == "beginning" and number < upto):
                apply(image, op)
            elif mode == "beginning" and number == upto and op.data is not None:
                apply(image, Op(op.position, op.data[: rand.randint(0, len(op.data))]))
            elif mode == "sectors" and op.data is not None:
                self._keep_sectors(image, op.position, op.data)
            elif mode in ("some", "sectors") and rand.random() < 0.5:
                apply(image, op)
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
                apply(image, Op(at, data[at - position : stop_at - position]))
            at = stop

    # FileSystem

    def _directory(self, path: Path) -> Directory:
        directory = self._directories.get(str(path))
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return directory

    def _node(self, path: Path) -> Inode:
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
            node = Inode()
            self._name(directory, NameOp(path.name, node, None))
        else:
            node.apply(Op(0, None))
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
            self._directories = renamed(self._directories, str(source), str(target))
            self._moved.append((str(source), str(target)))
            return
        node = self._node(source)
        self._name(self._directory(source.parent), NameOp(target.name, node, source.name))

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        self._call("unlink", str(path))
        self._node(path)
        self._name(self._directory(path.parent), NameOp(path.name, None, None))

    def _name(self, directory: Directory, op: NameOp) -> None:
        apply_name(directory.seen, op)
        directory.pending.append(op)

    def mkdir(self, path: Path) -> None:
        """Create one directory; synced with its parent."""
        self._call("mkdir", str(path))
        self._directory(path.parent)
        if str(path) in self._directories:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._directories[str(path)] = Directory()

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
            self._name(directory, NameOp(path.name, Inode(), None))
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
        node = Inode(bytearray(data), bytearray(data))
        directory = self._directory(path.parent)
        directory.seen[path.name] = node
        directory.disk[path.name] = node

    def mkdir_now(self, path: Path | str) -> None:
        """Make a directory, durably; no call is counted."""
        self._directories[str(path)] = Directory(on_disk=True)

    def forget(self, path: Path | str) -> None:
        """Remove a file, durably; no call is counted."""
        path = Path(path)
        directory = self._directory(path.parent)
        del directory.seen[path.name]
        directory.disk.pop(path.name, None)

    def names(self, path: Path | str) -> list[str]:
        """Return the files of a directory as processes see them; no call is counted."""
        return sorted(self._directory(Path(path)).seen)
