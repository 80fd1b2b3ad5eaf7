from __future__ import annotations

import re
from pathlib import Path

import pytest

from rstmdb_client import SyncClient


def test_the_examples_of_the_readme_work(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with SyncClient.from_url(url) as db:
        db.flush_all()
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    exec(compile(code, "README.md", "exec"), {"url": url})
    assert capsys.readouterr().out.splitlines() == [
        "paid",
        "INVALID_TRANSITION ['SHIP']",
        "shipped",
        "order-2 created paid",
        "order-1 SHIP",
        "shipped",
        "paid",
        "None",
    ]
