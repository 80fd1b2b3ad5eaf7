"""Whoever does what the tutorial, the guides and the README say gets what they show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from walkthrough import Walkthrough, blocks_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ON_A_HOST = {"deploy.md", "monitor.md"}
"""They set up whole machines; their files have tests of their own in tests/kit."""

PAGES = [
    ROOT / "README.md",
    DOCS / "tutorial.md",
    *(p for p in sorted(DOCS.glob("how-to/*.md")) if p.name not in {"index.md", *ON_A_HOST}),
]
NEEDS = {"tls.md": "openssl"}


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
