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

from rstmdb_wal.testing._file import SimulatedFile, SimulatedLock
from rstmdb_wal.testing._file_system import SimulatedFileSystem
from rstmdb_wal.testing._image import Call, SimulatedCrash
from rstmdb_wal.testing._opened import Opened, open_log

__all__ = [
    "Call",
    "Opened",
    "SimulatedCrash",
    "SimulatedFile",
    "SimulatedFileSystem",
    "SimulatedLock",
    "open_log",
]
