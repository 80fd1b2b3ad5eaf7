from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

import rstmdb_client
import rstmdb_protocol as rcp
from rstmdb_client import Client, RstmdbError, ServerError, StateMachineDatabase, SyncClient
from rstmdb_client._errors import server_error
from rstmdb_storage import Database


def test_all_names_every_public_thing_and_no_other() -> None:
    exported = rstmdb_client.__all__
    assert len(exported) == len(set(exported))
    values = {name: getattr(rstmdb_client, name) for name in exported}
    assert all(value is not None for value in values.values())
    assert set(exported) == {
        name
        for name, value in vars(rstmdb_client).items()
        if not name.startswith("_") and type(value).__name__ != "module" and name != "TYPE_CHECKING"
    }
    with pytest.raises(AttributeError, match="nope"):
        _ = rstmdb_client.nope


def test_every_public_class_and_method_says_what_it_is() -> None:
    for name in rstmdb_client.__all__:
        value = getattr(rstmdb_client, name)
        if isinstance(value, type):
            assert value.__doc__, name
            for method, member in vars(value).items():
                if inspect.isfunction(member) and not method.startswith("_"):
                    assert member.__doc__, f"{name}.{method}"


def test_the_blocking_client_brings_no_event_loop() -> None:
    code = (
        "import sys, rstmdb_client\n"
        "late = {'ssl', 'asyncio', 'anyio', 'http', 'msgpack', 'email', 'zstandard', 'random',\n"
        "        'dataclasses', 'logging', 'crc32c'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def methods(kind: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(member).parameters.values())
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }

    assert methods(Client) == methods(SyncClient)
    named = {name.upper() for name in methods(Client)}
    spoken = {"HELLO", "AUTH", "BYE"}  # the client's own
    assert set(rcp.OPERATIONS) - spoken <= named


def test_every_code_has_a_class_under_the_one_base() -> None:
    assert set(rstmdb_client.ERROR_CLASSES) == set(rcp.ErrorCode)
    assert len(set(rstmdb_client.ERROR_CLASSES.values())) == len(rcp.ErrorCode)
    for name in rstmdb_client.__all__:
        value: Any = getattr(rstmdb_client, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, RstmdbError), name


def test_an_error_carries_what_the_server_said_and_survives_pickling() -> None:
    body = rcp.error_body(rcp.ErrorCode.GUARD_FAILED, "no", {"guard": "ctx.x"})
    error = pickle.loads(pickle.dumps(server_error(body)))
    assert isinstance(error, rstmdb_client.GuardFailedError)
    assert (error.code, error.message, str(error)) == ("GUARD_FAILED", "no", "no")
    assert (error.retryable, error.details) == (False, {"guard": "ctx.x"})


def test_a_code_of_a_newer_server_is_a_server_error() -> None:
    error = server_error(rcp.ErrorBody("TEAPOT", "short and stout", True))
    assert type(error) is ServerError
    assert error.retryable


ORDER = {
    "states": ["a", "b"],
    "initial": "a",
    "transitions": [{"from": "a", "event": "GO", "to": "b"}],
}


def story(db: StateMachineDatabase) -> list[str]:
    """What code that takes either may do; type checkers check both callers."""
    db.put_machine("m", 1, ORDER)
    watch = db.watch_all(machines=["m"], from_offset=db.wal_stats().latest_offset)
    assert db.get_machine("m").definition["initial"] == "a"
    with db.batch(atomic=True) as batch:
        batch.create_instance("m", 1, instance_id="i")
        batch.apply_event("i", "GO")
    with db.batch() as batch:
        batch.apply_event("i", "GO")
    assert isinstance(batch.results[0], Exception)
    assert db.wait_for_state("i", "b", timeout=5).state == "b"
    assert db.decide_and_apply("i", lambda found: "GO" if found.state == "a" else None) is None
    with watch:
        event = watch.receive(timeout=20)
        assert (event.instance_id, event.event, event.from_state, event.to_state) == (
            "i", "GO", "a", "b",
        )  # fmt: skip
        assert (event.ctx, event.payload or {}) == ({}, {})
        with pytest.raises(TimeoutError):
            watch.receive(timeout=0.05)
        assert watch.next_offset is not None
        assert watch.next_offset > event.wal_offset
    with db.watch_all(to_states=["a"], from_offset=0) as nothing, pytest.raises(TimeoutError):
        nothing.receive(timeout=0.05)
    with db.watch_instance("i", include_ctx=False, from_offset=1) as one:
        again = next(iter(one))
        assert (again.wal_offset, bool(again.ctx)) == (event.wal_offset, False)
        db.delete_instance("i")
        with pytest.raises(Exception, match="deleted"):
            next(one)
    db.create_instance("m", 1, instance_id="j")
    db.apply_event("j", "GO")
    found = db.get_instance("j")
    rows = db.list_instances(machine="m").instances
    assert db.wal_read().records[-1].offset <= db.wal_stats().latest_offset
    return [found.state, rows[0].id, db.list_machines().items[0].machine]


def test_the_same_code_runs_on_the_embedded_database_and_on_a_server(url: str) -> None:
    with Database.open(":memory:") as database:
        assert story(database) == ["b", "j", "m"]
    with SyncClient.from_url(url) as client:
        client.flush_all()
        assert story(client) == ["b", "j", "m"]
