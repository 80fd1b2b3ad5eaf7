"""What the tests of the operator's kit share: its files, moved to where a test may write."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"

Place = Callable[[str], Path]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates made by the kit's own script."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run(
        [DEPLOY / "certs" / "make-dev-certs", folder], check=True, stdout=subprocess.DEVNULL
    )
    return folder


@pytest.fixture
def token() -> str:
    """The token that a placed configuration knows."""
    return "a token for the tests"


@pytest.fixture
def place(tmp_path: Path, certificates: Path, token: str) -> Place:
    """Bring an example configuration and the files that it names below `tmp_path`."""

    def place_one(name: str) -> Path:
        etc = tmp_path / "etc"
        etc.mkdir()
        for file in ("server.pem", "server.key"):
            (etc / file).write_bytes((certificates / file).read_bytes())
        (etc / "client-ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
        (etc / "tokens").write_text(f"# for the tests\n{sha256(token.encode()).hexdigest()}\n")
        text = (DEPLOY / "config" / f"{name}.yaml").read_text()
        moved = tmp_path / f"{name}.yaml"
        moved.write_text(
            text.replace("/etc/rstmdb", str(etc)).replace("/var/lib/rstmdb", str(tmp_path / "lib"))
        )
        return moved

    return place_one
