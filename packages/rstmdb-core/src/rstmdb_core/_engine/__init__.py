"""Decide: a command and the state give an entry to append, a Repeat, or a Rejection.

Nothing here changes what the state holds. What comes in as JSON is already parsed; JSON's types
are what the values must have. `now_ms` is the clock in Unix milliseconds; an entry's time
is never less than the time of the entry before.
"""

from ._events import apply_event
from ._instances import create_instance, delete_instance, flush_all
from ._machines import EngineOptions, prepare_machine, put_machine

__all__ = [
    "EngineOptions",
    "apply_event",
    "create_instance",
    "delete_instance",
    "flush_all",
    "prepare_machine",
    "put_machine",
]
