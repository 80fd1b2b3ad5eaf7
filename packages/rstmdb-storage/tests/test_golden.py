"""Directories of released formats: they open forever, with the same contents."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rstmdb_storage import CompactionOptions, Database, LogOptions, StorageOptions
from rstmdb_storage.offline import verify_database
from rstmdb_storage.testing import Clock

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(path: Path) -> Database:
    options = StorageOptions(
        log=LogOptions(segment_bytes=2048), compaction=CompactionOptions(enabled=False)
    )
    return Database.open(path, options, clock=Clock(1_700_000_007_000))


def expected(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_with_the_contents_that_it_had(name: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / name, tmp_path / "data")
    assert verify_database(tmp_path / "data").healthy
    with opened(tmp_path / "data") as db:
        assert json.loads(json.dumps(maker().contents(db))) == expected(name)
        assert not db.apply_event("order-1", "PAY", {"by": "card"}, idempotency_key="pay-1").applied
        assert db.apply_event("order-4", "PAY").to_state == "paid"
        db.compact()
    with opened(tmp_path / "data") as db:
        assert db.get_instance("order-4").state == "paid"


def test_every_format_so_far_has_its_directory() -> None:
    assert NAMES == ["v1"]
