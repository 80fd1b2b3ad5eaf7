import re
from pathlib import Path

import pytest


def test_the_examples_of_the_readme_work(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("True error ErrorBody(code='NOT_FOUND'")
