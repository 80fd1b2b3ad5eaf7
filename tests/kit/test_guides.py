"""The guides to the kit name files that exist, and the kit has none that they do not name."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from rstmdb_server.config import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
GUIDES = [ROOT / "docs" / "how-to" / name for name in ("deploy.md", "monitor.md")]


def named(guide: Path) -> set[Path]:
    return {ROOT / one.rstrip(".") for one in re.findall(r"\bdeploy/[\w./-]+", guide.read_text())}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_guide_names_files_that_exist(guide: Path) -> None:
    assert {path for path in named(guide) if not path.exists()} == set()


def test_every_file_of_the_kit_is_named_somewhere() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "deploy"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    told = set().union(*(named(guide) for guide in GUIDES))
    told.add(DEPLOY / "README.md")
    # These two are used by the Dockerfile beside them.
    told |= {DEPLOY / "docker" / name for name in ("Dockerfile.dockerignore", "healthcheck.py")}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        assert told & {path, *path.parents}, f"no guide names {name}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_settings_of_a_guide_are_settings(guide: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)):
        if "scrape_configs" in yaml.safe_load(block):
            continue
        config = tmp_path / f"{number}.yaml"
        config.write_text(block)
        assert load_config(config, {}, {}).warnings == ()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_commands_of_a_guide_are_shell(guide: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", guide.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        parsed = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert parsed.stderr == ""
