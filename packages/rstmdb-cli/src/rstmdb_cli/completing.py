"""Completion of what only the server knows: for options and arguments, in shells and the REPL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from .lookup import Lookup

__all__ = ["events", "instances", "listed", "machines", "states", "versions"]

Names = Mapping[str, str]
"""Each name that can stand there, and what to say about it."""

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]


def _completer(find: Callable[[Lookup, dict[str, Any]], Names]) -> Completer:
    """Complete with the names that `find` gets from the server and the other parameters."""

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        with _lookup(context) as lookup:
            names = {} if lookup is None else find(lookup, context.params)
        return [
            CompletionItem(name, help=text or None)
            for name, text in names.items()
            if name.startswith(incomplete) and name.isprintable()
        ]

    return complete


def listed(find: Completer) -> Completer:
    """Complete the last of several names with commas between them."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        before, comma, last = incomplete.rpartition(",")
        items = find(context, parameter, last)
        taken = before.split(",")
        for item in items:
            item.value = f"{before}{comma}{item.value}"
        return [item for item in items if item.value.rpartition(",")[2] not in taken]

    return complete


@contextmanager
def _lookup(context: click.Context) -> Iterator[Lookup | None]:
    """What the context's server answers; None where the options make no sense."""
    from .lookup import Lookup

    session = context.find_object(Session)
    try:
        if session is None:
            session = Session.of(context.find_root())
        lookup = session.lookup or Lookup.of(session)
    except (click.ClickException, TypeError, ValueError, KeyError):
        yield None
        return
    try:
        yield lookup
    finally:
        if session.lookup is None:
            lookup.close()


def _numbers(versions: Iterable[int]) -> str:
    found = [str(number) for number in versions]  # no commas: click's fish cuts help there
    return f"version {found[0]}" if len(found) == 1 else f"versions {' '.join(found)}"


def _machines(lookup: Lookup, _params: dict[str, Any]) -> Names:
    return {name: _numbers(versions) for name, versions in lookup.machines().items()}


def _versions(lookup: Lookup, params: dict[str, Any]) -> Names:
    machine = params.get("machine") or params.get("name")
    versions = lookup.machines().get(machine or "", [])
    return {str(version): f"of {machine}" for version in sorted(versions, reverse=True)}


def _instances(lookup: Lookup, _params: dict[str, Any]) -> Names:
    return {name: f"{machine}: {state}" for name, (machine, state) in lookup.instances().items()}


def _definitions(lookup: Lookup, params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Newest definitions of the machines that other parameters name, or of all."""
    wanted = params.get("machine") or params.get("machines") or lookup.machines()
    names = [wanted] if isinstance(wanted, str) else wanted
    return {name: lookup.definition(name) for name in names}


def _states(lookup: Lookup, params: dict[str, Any]) -> Names:
    found: dict[str, list[str]] = {}
    for machine, definition in _definitions(lookup, params).items():
        for state in definition.get("states", []):
            found.setdefault(state, []).append(machine)
    return {state: " ".join(names) for state, names in found.items()}


def _events(lookup: Lookup, params: dict[str, Any]) -> Names:
    if params.get("instance_id"):
        return lookup.allowed(params["instance_id"])
    found: dict[str, list[str]] = {}
    for machine, definition in _definitions(lookup, params).items():
        for transition in definition.get("transitions", []):
            names = found.setdefault(transition["event"], [])
            if machine not in names:
                names.append(machine)
    return {event: " ".join(names) for event, names in found.items()}


machines = _completer(_machines)
"""Names of machines."""

versions = _completer(_versions)
"""Versions of the machine that is named, the newest first."""

instances = _completer(_instances)
"""Ids of instances."""

states = _completer(_states)
"""States of the machine that is named, or of all."""

events = _completer(_events)
"""Events allowed from the current state of the instance that is named, or all events."""
