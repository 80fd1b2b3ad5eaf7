"""The README's commands run, and its tables are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rstmdb_cli.commands import SUBJECTS
from rstmdb_cli.exits import CODES_HELP
from rstmdb_cli.main import main
from rstmdb_server.testing import ServerProcess

README = (Path(__file__).parents[1] / "README.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def shown(server: ServerProcess, tmp_path: Path) -> str:
    """What the README's shell lines print, run one after the other."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", "\n".join(SHELL)],
        cwd=tmp_path,
        env=os.environ | {"RSTMDB_SERVER": server.address, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "rstmdb-cli: " not in done.stderr
    return done.stdout


def test_the_first_commands_do_what_they_say(shown: str) -> None:
    assert shown.startswith("pong  true\n")
    for part in ('"card": "visa"', "order-1  order", '"machine": "order"', '"to_state": "shipped"'):
        assert part in shown


def test_the_tables_name_every_command_option_variable_and_exit_code() -> None:
    for name in SUBJECTS:
        assert f"`{name}" in README
    for option in main.params:
        if option.name not in ("version", "as_json"):
            assert all(f"`{name}`" in README for name in option.opts)
            assert f"`{option.envvar}`" in README
    for code in re.findall(r"\d+", CODES_HELP):
        assert f"\n| {code} | " in README
