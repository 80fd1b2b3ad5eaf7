"""The check of artifacts finds what it is there to find; `nox -s release-check` runs it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

pytest.importorskip("readme_renderer", reason="readme-renderer is not installed")
pytest.importorskip("comrak", reason="readme-renderer's extra md is not installed")
pytest.importorskip("trove_classifiers", reason="trove-classifiers is not installed")

from check_artifacts import about_readme, complaints, read

READMES = sorted((Path(__file__).parents[2] / "packages").glob("*/README.md"))

METADATA = """\
Metadata-Version: 2.4
Name: rstmdb-client
Version: 1.0.0
License-Expression: Apache-2.0
License-File: LICENSE
License-File: NOTICE
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Requires-Python: >=3.11
Requires-Dist: rstmdb-protocol==1.0.0
Requires-Dist: anyio>=4.4
Description-Content-Type: text/markdown

# rstmdb-client

A [page](https://example.com), and [a part](#of-it).
"""
FILES = {
    "rstmdb_client/__init__.py",
    "rstmdb_client/py.typed",
    "rstmdb_client-1.0.0.dist-info/licenses/LICENSE",
    "rstmdb_client-1.0.0.dist-info/licenses/NOTICE",
}


def wrong_with(
    folder: Path, metadata: str = METADATA, files: set[str] = FILES, tag: str = "py3-none-any"
) -> str:
    path = folder / f"rstmdb_client-1.0.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("rstmdb_client-1.0.0.dist-info/METADATA", metadata)
        for name in files:
            wheel.writestr(name, "")
    return "\n".join(complaints(read(path), "1.0.0"))


def test_a_wheel_as_it_should_be(tmp_path: Path) -> None:
    assert wrong_with(tmp_path) == ""


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("Metadata-Version: 2.4", "Metadata-Version: 2.3", "license-expression"),
        ("Version: 1.0.0", "Version: 1.0.1", "version is 1.0.1, not 1.0.0"),
        ("Apache-2.0", "MIT", "license_expression is 'MIT'"),
        ("License-File: NOTICE\n", "", "license_files is ['LICENSE']"),
        (":: 3.12", ":: 3.99", "'Programming Language :: Python :: 3.99' is no classifier"),
        (">=3.11", ">=3.10", "requires Python >=3.10"),
        ("rstmdb-protocol==1.0.0", "rstmdb-protocol>=1.0.0", "is not pinned to 1.0.0"),
        ("anyio>=4.4", "rstmdb>=0.2", "another project's client"),
        ("text/markdown", "text/plain", "description_content_type is 'text/plain'"),
        ("#of-it", "docs/page.md", "links to docs/page.md"),
    ],
)
def test_metadata_that_a_registry_should_not_get(
    tmp_path: Path, good: str, bad: str, said: str
) -> None:
    assert good in METADATA
    assert said in wrong_with(tmp_path, METADATA.replace(good, bad))


def test_files_that_are_missing_or_too_many(tmp_path: Path) -> None:
    assert "lacks rstmdb_client/py.typed" in wrong_with(
        tmp_path, files=FILES - {"rstmdb_client/py.typed"}
    )
    assert "holds tests/test_client.py" in wrong_with(
        tmp_path, files=FILES | {"tests/test_client.py"}
    )
    assert "is not for every platform" in wrong_with(tmp_path, tag="cp311-cp311-linux_x86_64")


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_a_readme_renders_and_links_to_nothing_that_only_a_checkout_has(readme: Path) -> None:
    assert about_readme(readme.read_text()) == []
