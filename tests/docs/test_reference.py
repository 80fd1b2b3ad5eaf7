"""The reference names everything that there is: operations, errors, entries, settings, guards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rstmdb_core import ENTRY_KINDS, compile_guard
from rstmdb_protocol import FEATURES, OPERATIONS, ErrorCode
from rstmdb_server.config import SETTINGS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])


def text(page: str) -> str:
    return (REFERENCE / page).read_text()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_documented_with_its_params_and_results(name: str) -> None:
    row = re.search(rf"^\| {name} \|(.*)\|(.*)\|$", text("wire-protocol.md"), re.MULTILINE)
    assert row is not None
    operation = OPERATIONS[name]
    for field in operation.params.__struct_fields__:
        assert re.search(rf"\b{field}\b", row[1]), f"{name}: {field} is not documented"
    for field in operation.result.__struct_fields__:
        assert re.search(rf"\b{field}\b", row[2]), f"{name}: result {field} is not documented"


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_is_documented(code: ErrorCode) -> None:
    assert f"| {code.value} |" in text("wire-protocol.md")


def test_every_feature_and_entry_type_is_documented() -> None:
    page = text("wire-protocol.md")
    for feature in FEATURES:
        assert f"`{feature.value}`" in page
    for entry in ENTRY_KINDS:
        tag = entry.__struct_config__.tag
        assert f"| `{tag}` |" in page


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_documented(key: str) -> None:
    readme = (ROOT / "packages" / "rstmdb-server" / "README.md").read_text()
    assert f"| `{key}` | `{SETTINGS[key].variable}` |" in readme


def test_the_guards_of_the_reference_are_what_the_engine_takes() -> None:
    rows = re.findall(r"^\| `([^`]*ctx[^`]*)` \|", text("engine.md"), re.MULTILINE)
    assert len(rows) >= 6
    for guard in rows:
        compile_guard(guard.replace("\\|", "|"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page}: {target}"
