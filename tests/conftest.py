"""What the tests of the whole share: a real server, and bare connections to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rstmdb_server.testing import ServerProcess
from wire import Wire

ORDER: dict[str, Any] = {
    "states": ["created", "paid", "shipped", "cancelled"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
        {"from": ["created", "paid"], "event": "CANCEL", "to": "cancelled"},
    ],
}


@pytest.fixture(scope="module", params=["callback", "trio"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One server for the tests of a module: on asyncio's callbacks, and on trio's streams."""
    folder: Path = tmp_path_factory.mktemp("server")
    env = {
        "RSTMDB_ALLOW_FLUSH_ALL": "true",
        "RSTMDB_BACKUP_DIR": str(folder / "backups"),
        "RSTMDB_WAL_SEGMENT_SIZE_MB": "1",
        "RSTMDB_COMPACT_ENABLED": "false",
        "RSTMDB_MAX_MACHINE_VERSIONS": "3",
    }
    support = str(Path(__file__).parent / "support")
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (support, os.environ.get("PYTHONPATH"))))
    module = "rstmdb_server" if request.param == "callback" else "trio_server"
    with ServerProcess(folder, env, module=module) as process:
        yield process


@pytest.fixture
def connect(server: ServerProcess) -> Iterator[Callable[..., Wire]]:
    """Open connections that are closed after the test."""
    opened: list[Wire] = []

    def open_one(**options: Any) -> Wire:
        wire = Wire(server.host, server.port, **options)
        opened.append(wire)
        return wire

    yield open_one
    for wire in opened:
        wire.close()


@pytest.fixture
def wire(connect: Callable[..., Wire]) -> Wire:
    """A connection to a database that holds nothing."""
    opened = connect()
    opened.call("FLUSH_ALL")
    return opened


@pytest.fixture
def orders(wire: Wire) -> Wire:
    """A connection to a database with the machine `order` and the instance `o-1`."""
    wire.call("PUT_MACHINE", machine="order", version=1, definition=ORDER)
    wire.call(
        "CREATE_INSTANCE",
        instance_id="o-1",
        machine="order",
        version=1,
        initial_ctx={"amount": 10, "customer": {"name": "Ada"}},
    )
    return wire
