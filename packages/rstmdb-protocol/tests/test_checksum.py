from __future__ import annotations

import random
import subprocess
import sys
from importlib.machinery import PathFinder
from typing import Any

import crc32c as package
import pytest

from rstmdb_protocol import _checksum
from rstmdb_protocol._checksum import crc32c


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_it_is_castagnolis(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


def test_it_is_the_packages_function_whatever_the_length() -> None:
    rng = random.Random(7)
    for size in (*range(70), 1023, 4096, 100_001):
        data = rng.randbytes(size)
        assert crc32c(data) == package.crc32c(data)


def test_it_comes_without_the_packages_other_imports() -> None:
    code = (
        "import sys, rstmdb_protocol as rcp\n"
        "frame = rcp.encode_frame(b'{}')\n"
        "print(sorted({'crc32c', 'email', 'importlib.metadata'} & set(sys.modules)))\n"
        "import crc32c\n"
        "print(frame[14:18] == crc32c.crc32c(b'{}').to_bytes(4, 'big'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "True"]


@pytest.mark.parametrize("missing", ["crc32c", "_crc32c"])
def test_a_package_of_another_shape_is_imported_as_usual(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = PathFinder.find_spec

    def find(name: str, *arguments: Any) -> Any:
        return None if name == missing else find_spec(name, *arguments)

    monkeypatch.setattr(PathFinder, "find_spec", find)
    assert _checksum._load() is package.crc32c
