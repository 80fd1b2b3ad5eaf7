"""The commands, grouped by subject."""

from . import admin, instances, log, machines, watches

__all__ = ["COMMANDS"]

COMMANDS = (
    *admin.COMMANDS,
    *machines.COMMANDS,
    *instances.COMMANDS,
    *watches.COMMANDS,
    *log.COMMANDS,
)
