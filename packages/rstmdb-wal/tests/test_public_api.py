import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["rstmdb_wal", "rstmdb_wal.fs", "rstmdb_wal.testing"])
def test_all_names_every_public_thing_and_no_other(name: str) -> None:
    module = importlib.import_module(name)
    exported = module.__all__
    assert sorted(exported) == sorted(set(exported))
    own = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", "").startswith(name)
        if name != "rstmdb_wal.testing" or value.__module__ == name
    }
    assert own <= set(exported)
    assert all(hasattr(module, key) for key in exported)
    assert all(
        getattr(module, key).__doc__ for key in exported if isinstance(getattr(module, key), type)
    )


def test_importing_it_brings_no_event_loop() -> None:
    # The package crc32c itself imports socket; that ours does not is an import contract.
    code = (
        "import sys, rstmdb_wal, rstmdb_wal.testing\n"
        "print(sorted({'ssl', 'asyncio', 'anyio', 'http', 'msgpack'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
