"""Everything the engine can refuse or find unreadable.

CoreError
├── MalformedEntry                  a log payload that is no entry of its kind
├── MalformedSnapshot               a dumped section that cannot be loaded
├── GuardSyntaxError                a guard's text does not parse (has a position)
└── Rejection                       a command that decide refuses
    ├── InvalidRequest              BAD_REQUEST on the wire
    ├── MachineNotFound
    ├── MachineVersionExists
    ├── MachineVersionLimitExceeded
    ├── InstanceNotFound
    ├── InstanceExists
    ├── InvalidTransition
    ├── GuardFailed
    └── Conflict
"""

from __future__ import annotations

from collections.abc import Mapping


class CoreError(Exception):
    """Root of all exceptions of this package."""


class MalformedEntry(CoreError):
    """A log payload cannot be read as an entry of the kind that its record claims.

    `done` is how many records a replay had taken in before it met this one.
    """

    done: int = 0


class MalformedSnapshot(CoreError):
    """A dumped section holds something that this version cannot load."""


class GuardSyntaxError(CoreError):
    """A guard's text does not parse.

    `position` counts characters from 0 and is where reading stopped; `reason` says why.
    """

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at position {position}")
        self.reason = reason
        self.position = position


class Rejection(CoreError):
    """A command was refused and nothing changed.

    `message` is for people, `details` for programs. `depends_on` is the offset of the latest
    entry that the refusal rests on: it may be told to a client only once that entry is
    released. 0 when it rests on the request alone.
    """

    def __init__(
        self,
        message: str,
        details: Mapping[str, object] | None = None,
        depends_on: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, object] = dict(details) if details else {}
        self.depends_on = depends_on


class InvalidRequest(Rejection):
    """The request itself is wrong, whatever the state."""


class MachineNotFound(Rejection):
    """No such machine, or no such version of it."""


class MachineVersionExists(Rejection):
    """This version is registered with another definition."""


class MachineVersionLimitExceeded(Rejection):
    """The machine has as many versions as the configuration allows."""


class InstanceNotFound(Rejection):
    """No such instance, or it was deleted."""


class InstanceExists(Rejection):
    """The id is taken, by a living instance or by the tombstone of a deleted one."""


class InvalidTransition(Rejection):
    """The instance's state has no transition for this event."""


class GuardFailed(Rejection):
    """There are transitions for this event, and no guard of theirs holds."""


class Conflict(Rejection):
    """What the request expected is not so, or its idempotency key belongs to another request."""
