"""The README's examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rstmdb_storage
from rstmdb_storage import offline

README = Path(__file__).parent.parent / "README.md"


def test_the_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    assert "o-2 created -> paid" in capsys.readouterr().out
    assert (tmp_path / "earlier" / "wal").is_dir()


@pytest.mark.parametrize("module", [rstmdb_storage, offline])
def test_all_is_exact_and_sorted(module: object) -> None:
    names = list(vars(module)["__all__"])
    assert names == sorted(names)
    public = {name for name in vars(module) if not name.startswith("_")}
    submodules = {"offline", "testing", "annotations"}
    assert public - submodules == set(names)
