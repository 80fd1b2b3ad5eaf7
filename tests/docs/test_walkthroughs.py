"""Whoever does what the tutorial, the guides and the README say gets what they show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from walkthrough import PageError, Walkthrough, blocks_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TESTED_ELSEWHERE = {"deploy.md", "monitor.md", "examples.md"}
"""Whole machines are set up in tests/kit, as far as can be; scripts run in tests/examples."""

PAGES = [
    ROOT / "README.md",
    DOCS / "tutorial.md",
    *(p for p in sorted(DOCS.glob("how-to/*.md")) if p.name not in {"index.md", *TESTED_ELSEWHERE}),
]
NEEDS = {"tls.md": "openssl"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    needed = NEEDS.get(page.name)
    if needed is not None and shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    with Walkthrough(page, tmp_path) as reader:
        assert reader.run() > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_is_left_out_without_a_reason(page: Path) -> None:
    for block in blocks_of(page.read_text()):
        shown = block.language in ("", "text", "json", "yaml")
        assert block.markers or shown or block.language in ("sh", "python"), (
            f"{page.name}:{block.line}: a block of {block.language} that nobody runs"
        )


# -- would it notice? -------------------------------------------------------------------------


def read(folder: Path, text: str) -> int:
    """Read a page that has this text."""
    page = folder / "page.md"
    page.write_text(text)
    with Walkthrough(page, folder / "reader") as reader:
        return reader.run()


RUNS = """
```sh
export WHO=me
mkdir inside && cd inside
```

<!-- file say.py -->
```python
import os
print(os.environ["WHO"], 1795519099713, os.path.basename(os.getcwd()))
```

```sh
python ../say.py
```

<!-- output -->
```text
me 1999999999999 ...
```

<!-- exit 3 -->
```sh
exit 3
```

<!-- in clock until "tick" -->
```sh
while true; do echo tick; sleep 0.05; done
```

<!-- not run: it would fail -->
```sh
false
```
"""


def test_directories_variables_files_codes_and_terminals_are_as_a_reader_has_them(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, RUNS) == 4


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nfalse\necho later\n```\n",
        "```python\nraise SystemExit(2)\n```\n",
        "<!-- exit 3 -->\n```sh\ntrue\n```\n",
        "```sh\necho one\n```\n\n<!-- output -->\n```text\ntwo\n```\n",
        "```sh\necho one; echo two\n```\n\n<!-- output -->\n```text\none\n```\n",
        '<!-- in clock until "tick" -->\n```sh\necho tock\n```\n',
        '<!-- in clock until "tick" -->\n```sh\necho tick; exec sleep 60\n```\n\n'
        "<!-- ctrl-c clock -->\n",
    ],
    ids=["line", "script", "code", "output", "more output", "terminal", "interrupted"],
)
def test_a_page_that_does_not_do_what_it_says_is_found(tmp_path: Path, text: str) -> None:
    with pytest.raises(PageError, match=r"page\.md:\d+: "):
        read(tmp_path, text)
