"""What a simulated disk holds: what processes see, what is on disk, what is not synced yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class SimulatedCrash(BaseException):
    """The simulated process dies here. No ``except Exception`` may stop it."""


class Call(NamedTuple):
    """One call as the trace keeps it; ``size`` is what it was about, in bytes, where it has one."""

    number: int
    operation: str
    path: str
    size: int


class Op(NamedTuple):
    """A change to a file that is not synced. A truncation has no data."""

    position: int
    data: bytes | None


class NameOp(NamedTuple):
    """A change to a directory that is not synced: ``node`` appears at ``name`` (None: nothing)."""

    name: str
    node: Inode | None
    gone: str | None  # the old name, for a rename


@dataclass(slots=True, eq=False)
class Inode:
    seen: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)

    def apply(self, op: Op) -> None:
        apply(self.seen, op)
        self.pending.append(op)

    def sync(self) -> None:
        for op in self.pending:
            apply(self.disk, op)
        self.pending.clear()


@dataclass(slots=True)
class Directory:
    seen: dict[str, Inode] = field(default_factory=dict)
    disk: dict[str, Inode] = field(default_factory=dict)
    pending: list[NameOp] = field(default_factory=list)
    on_disk: bool = False  # whether the directory's own name is


@dataclass(slots=True)
class Fault:
    operation: str
    countdown: int
    error: int  # errno; 0: a short write
    lasting: bool
    short: int = 0


def apply(image: bytearray, op: Op) -> None:
    if op.data is None:
        if op.position < len(image):
            del image[op.position :]
        else:
            image.extend(bytes(op.position - len(image)))
        return
    if op.position > len(image):
        image.extend(bytes(op.position - len(image)))
    image[op.position : op.position + len(op.data)] = op.data


def renamed(directories: dict[str, Directory], source: str, target: str) -> dict[str, Directory]:
    """Return the directories with one of them, and all below it, under another name."""
    return {
        target + path[len(source) :] if path == source or path.startswith(f"{source}/") else path: d
        for path, d in directories.items()
    }


def apply_name(names: dict[str, Inode], op: NameOp) -> None:
    if op.gone is not None and names.get(op.gone) is op.node:
        del names[op.gone]
    if op.node is None:
        names.pop(op.name, None)
    else:
        names[op.name] = op.node
