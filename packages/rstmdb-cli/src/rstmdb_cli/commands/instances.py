"""create-instance, get-instance, list-instances, apply-event, delete-instance."""

from __future__ import annotations

from typing import Any

import click

from rstmdb_cli import completing
from rstmdb_cli.output import show, show_rows
from rstmdb_cli.session import Session, pass_session
from rstmdb_cli.values import VERSION, json_object

from .pictures import DIAGRAM, SVG, draw

__all__ = ["apply_event", "create_instance", "delete_instance", "get_instance", "list_instances"]

_KEY_HELP = "Makes it safe to send the same request again."
_COLUMNS = ("id", "machine", "version", "state", "created_at", "updated_at", "last_wal_offset")


@click.command("create-instance")
@click.option(
    "-m", "--machine", required=True, shell_complete=completing.machines,
    help="Name of the machine.",
)  # fmt: skip
@click.option(
    "-V", "--version", type=VERSION, required=True, shell_complete=completing.versions,
    help="Version of the machine.",
)  # fmt: skip
@click.option("-i", "--id", "instance_id", help="The server makes a UUID when absent.")
@click.option(
    "-c", "--ctx", type=json_object, metavar="JSON", help="Initial context: JSON, @file or -."
)
@click.option("--idempotency-key", help=_KEY_HELP)
@pass_session
def create_instance(
    session: Session,
    machine: str,
    version: int,
    instance_id: str | None,
    ctx: dict[str, Any] | None,
    idempotency_key: str | None,
) -> None:
    """Create an instance of a machine."""
    result = session.call(
        "CREATE_INSTANCE",
        machine=machine,
        version=version,
        instance_id=instance_id,
        initial_ctx=ctx,
        idempotency_key=idempotency_key,
    )
    show(result, session.output)


@click.command("get-instance")
@click.argument("instance_id", metavar="ID", shell_complete=completing.instances)
@DIAGRAM
@SVG
@pass_session
def get_instance(session: Session, instance_id: str, diagram: bool, svg: str | None) -> None:
    """Show the instance ID.

    A picture is that of its machine, with the instance's current state marked.
    """
    instance = session.call("GET_INSTANCE", instance_id=instance_id)
    if not (diagram or svg):
        show(instance, session.output)
        return
    state, version = instance["state"], instance["version"]
    machine = session.call("GET_MACHINE", machine=instance["machine"], version=version)
    title = f"{instance_id} in {state}, {instance['machine']} version {version}"
    draw(machine["definition"], title, diagram=diagram, svg=svg, current=state)


@click.command("list-instances")
@click.option("--machine", shell_complete=completing.machines, help="Only those of this machine.")
@click.option("--state", shell_complete=completing.states, help="Only those in this state.")
@click.option("--limit", type=click.IntRange(min=0), help="100 unless given, at most 10000.")
@click.option("--offset", type=click.IntRange(min=0), help="Leave out so many at the beginning.")
@pass_session
def list_instances(
    session: Session,
    machine: str | None,
    state: str | None,
    limit: int | None,
    offset: int | None,
) -> None:
    """List instances.

    Oldest first; with --state, those that have been in it longest first.
    """
    result = session.call(
        "LIST_INSTANCES", machine=machine, state=state, limit=limit, offset=offset
    )
    show_rows(result, "instances", session.output, _COLUMNS)


@click.command("apply-event")
@click.option(
    "-i", "--id", "instance_id", required=True, shell_complete=completing.instances,
    help="Id of the instance.",
)  # fmt: skip
@click.option(
    "-e", "--event", required=True, shell_complete=completing.events, help="Name of the event."
)
@click.option(
    "-p",
    "--payload",
    type=json_object,
    metavar="JSON",
    help="Merged into the context: JSON, @file, -.",
)
@click.option(
    "--expected-state", shell_complete=completing.states,
    help="Refuse unless the instance is in this state.",
)  # fmt: skip
@click.option(
    "--expected-offset", type=click.IntRange(min=0), help="Refuse unless it was last changed there."
)
@click.option("--event-id", help="Kept with the instance as last_event_id.")
@click.option("--idempotency-key", help=_KEY_HELP)
@pass_session
def apply_event(
    session: Session,
    instance_id: str,
    event: str,
    payload: dict[str, Any] | None,
    expected_state: str | None,
    expected_offset: int | None,
    event_id: str | None,
    idempotency_key: str | None,
) -> None:
    """Apply an event to an instance."""
    result = session.call(
        "APPLY_EVENT",
        instance_id=instance_id,
        event=event,
        payload=payload,
        expected_state=expected_state,
        expected_wal_offset=expected_offset,
        event_id=event_id,
        idempotency_key=idempotency_key,
    )
    show(result, session.output)


@click.command("delete-instance")
@click.argument("instance_id", metavar="ID", shell_complete=completing.instances)
@click.option("--idempotency-key", help=_KEY_HELP)
@pass_session
def delete_instance(session: Session, instance_id: str, idempotency_key: str | None) -> None:
    """Delete the instance ID."""
    result = session.call(
        "DELETE_INSTANCE", instance_id=instance_id, idempotency_key=idempotency_key
    )
    show(result, session.output)
