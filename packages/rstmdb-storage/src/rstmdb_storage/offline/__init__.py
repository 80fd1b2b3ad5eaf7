"""Tools for a database that nobody has open: look, check, repair, export, restore.

They take the directory's lock like any owner, so none of them runs beside a server. The ones
that only read change nothing. `progress(done, total)` is called now and then, in bytes of log.
"""

from ._dump import dump_database
from ._reading import Progress
from ._repair import RepairReport, repair_database
from ._restore import RestoreResult, restore_backup
from ._verify import DatabaseStats, SnapshotCheck, VerifyReport, database_stats, verify_database

__all__ = [
    "DatabaseStats",
    "Progress",
    "RepairReport",
    "RestoreResult",
    "SnapshotCheck",
    "VerifyReport",
    "database_stats",
    "dump_database",
    "repair_database",
    "restore_backup",
    "verify_database",
]
