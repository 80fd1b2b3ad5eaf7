"""A machine that all tests share, and fixtures around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstmdb_storage import CompactionOptions, Database, StorageOptions

DOOR: dict[str, Any] = {
    "states": ["a", "b", "c"],
    "initial": "a",
    "transitions": [
        {"from": "a", "event": "go", "to": "b"},
        {"from": "b", "event": "go", "to": "c"},
        {"from": "c", "event": "go", "to": "a"},
        {"from": ["a", "b", "c"], "event": "stay", "to": "a", "guard": "ctx.n >= 2"},
    ],
}


@pytest.fixture
def door() -> dict[str, Any]:
    """A definition with a cycle and a guard."""
    return DOOR


@pytest.fixture(params=["directory", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database with one machine and one instance, on disk and in memory."""
    path = ":memory:" if request.param == "memory" else tmp_path / "data"
    options = StorageOptions(compaction=CompactionOptions(enabled=False))
    with Database.open(path, options) as database:
        database.put_machine("door", 1, DOOR)
        database.create_instance("door", 1, instance_id="d", initial_ctx={"n": 1})
        yield database
