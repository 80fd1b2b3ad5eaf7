import inspect
import subprocess
import sys

import pytest

import rstmdb_protocol


def test_all_names_every_public_thing_and_no_other() -> None:
    exported = rstmdb_protocol.__all__
    assert len(exported) == len(set(exported))
    assert all(getattr(rstmdb_protocol, name) is not None for name in exported)
    assert set(exported) == {
        name
        for name, value in vars(rstmdb_protocol).items()
        if not name.startswith("_") and type(value).__name__ != "module" and name != "TYPE_CHECKING"
    }
    with pytest.raises(AttributeError, match="nope"):
        _ = rstmdb_protocol.nope


def test_every_public_class_and_function_says_what_it_is() -> None:
    for name in rstmdb_protocol.__all__:
        value = getattr(rstmdb_protocol, name)
        if isinstance(value, type) or inspect.isfunction(value):
            assert value.__doc__, name


def test_importing_it_brings_no_network_no_event_loop_and_nothing_that_is_seldom_needed() -> None:
    code = (
        "import sys, rstmdb_protocol\n"
        "late = {'socket', 'ssl', 'asyncio', 'anyio', 'http', 'msgpack', 'email', 'zstandard',\n"
        "        'rstmdb_protocol._requests', 'rstmdb_protocol._server'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
