"""The reference is complete, and its examples are what the code does."""

from __future__ import annotations

import json
import re
import socket
import typing
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from crc32c import crc32c

import rstmdb_protocol
import rstmdb_wal
from rstmdb_core import (
    ENTRY_KINDS,
    Checkpoint,
    GuardSyntaxError,
    checksum_of,
    compile_guard,
    encode_entry,
    read_definition,
)
from rstmdb_protocol import FEATURES, OPERATIONS, RETRYABLE_CODES, ErrorCode, encode_frame
from rstmdb_server.config import SETTINGS, Config, load_config
from rstmdb_server.testing import ServerProcess
from rstmdb_wal import KIND_CHECKPOINT, FsyncPolicy, LogOptions, Recovery

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])

VARYING = {"created_at", "updated_at", "timestamp", "server_time", "server_version", "io_stats"}
"""Fields of which an example shows only the type."""


def text(page: str) -> str:
    return (REFERENCE / page).read_text()


def blocks(page: str, marker: str) -> list[str]:
    """The contents of the fenced blocks behind `<!-- marker -->`."""
    found = re.findall(rf"<!-- {marker} -->\n```\w*\n(.*?)\n```", text(page), re.DOTALL)
    assert found, f"{page} has no block marked {marker}"
    return found


def rows(page: str, heads: str) -> list[list[str]]:
    """The rows of all tables of a page whose header begins with `heads`."""
    found = []
    for table in re.findall(
        rf"^\| {re.escape(heads)}.*\n\|[-| ]+\n((?:\|.*\n)+)", text(page), re.MULTILINE
    ):
        for line in table.splitlines():
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            found.append([cell.strip().replace("\\|", "|") for cell in cells])
    assert found, f"{page} has no table | {heads}"
    return found


def unquoted(cell: str) -> str:
    return cell.strip("`")


def hexdump(data: bytes) -> str:
    lines = (f"{at:04x}  {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16))
    return "\n".join(lines)


# -- the wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_documented_with_its_params_and_results(name: str) -> None:
    _, params, result = next(row for row in rows("wire-protocol.md", "op |") if row[0] == name)
    operation = OPERATIONS[name]
    for field in operation.params.__struct_fields__:
        assert f"`{field}`" in params, f"{name}: {field} is not documented"
    for field in operation.result.__struct_fields__:
        assert f"`{field}`" in result, f"{name}: result {field} is not documented"
    for one in msgspec.structs.fields(operation.params):
        optional = f"`{one.name}`?" in params
        assert optional is not one.required, f"{name}: is {one.name} optional?"


def test_no_operation_is_documented_that_there_is_not() -> None:
    assert [row[0] for row in rows("wire-protocol.md", "op |")] == list(OPERATIONS)


def test_the_largest_request_of_each_operation_is_documented() -> None:
    units = {"KiB": 1 << 10, "MiB": 1 << 20}
    documented: dict[str, int] = {}
    for names, size in rows("wire-protocol.md", "the largest request |"):
        number, unit = size.split()
        documented |= dict.fromkeys(names.split(", "), int(number) * units[unit])
    other = documented.pop("any other")
    assert {name: operation.max_bytes for name, operation in OPERATIONS.items()} == {
        name: documented.get(name, other) for name in OPERATIONS
    }


def test_every_error_code_is_documented_with_whether_it_is_retryable() -> None:
    documented = {row[0]: row[1] for row in rows("wire-protocol.md", "code |")}
    assert documented == {
        code.value: "yes" if code in RETRYABLE_CODES else "no" for code in ErrorCode
    }


def test_every_feature_is_documented() -> None:
    documented = [unquoted(row[0]) for row in rows("wire-protocol.md", "feature |")]
    assert documented == [feature.value for feature in FEATURES]


def test_every_frame_flag_is_documented() -> None:
    documented = {row[1]: int(row[0], 16) for row in rows("wire-protocol.md", "flag |")}
    names = (name for name in rstmdb_protocol.__all__ if name.startswith("FLAG_"))
    assert documented == {
        name.removeprefix("FLAG_"): getattr(rstmdb_protocol, name) for name in names
    }


def test_every_entry_type_is_documented_with_its_fields() -> None:
    documented = {unquoted(row[0]): row[1] for row in rows("wire-protocol.md", "type | fields")}
    assert set(documented) == {str(entry.__struct_config__.tag) for entry in ENTRY_KINDS}
    for entry in ENTRY_KINDS:
        fields = documented[str(entry.__struct_config__.tag)]
        for field in entry.__struct_fields__:
            assert f"`{field}`" in fields, f"{entry.__name__}: {field} is not documented"


def test_the_frame_of_the_reference_is_what_the_codec_makes() -> None:
    (shown,) = blocks("wire-protocol.md", "frame")
    assert shown == hexdump(encode_frame(b'{"id":"1","op":"PING"}'))


def messages(block: str) -> Iterator[tuple[str, Any]]:
    """The messages of a transcript with who sends them; a message may take several lines."""
    for part in re.split(r"^(?=[<>] )", block, flags=re.MULTILINE)[1:]:
        yield part[0], json.loads(part[2:])


def same(shown: Any, real: Any, key: str = "") -> bool:
    if key in VARYING:
        return type(shown) is type(real)
    if isinstance(shown, dict) and isinstance(real, dict):
        return shown.keys() == real.keys() and all(same(shown[k], real[k], k) for k in shown)
    if isinstance(shown, list) and isinstance(real, list):
        return len(shown) == len(real) and all(map(same, shown, real))
    return bool(shown == real)


def test_the_conversation_of_the_reference_is_what_a_server_says(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path) as server,
        server.connect() as connection,
        connection.makefile("rb") as lines,
    ):
        for block in blocks("wire-protocol.md", "transcript"):
            for sender, message in messages(block):
                if sender == ">":
                    connection.sendall(json.dumps(message).encode() + b"\n")
                else:
                    real = json.loads(lines.readline())
                    assert same(message, real), f"{message}\nis documented, but there came\n{real}"


# -- the engine -------------------------------------------------------------------------------


@pytest.mark.parametrize(("guard", "context", "holds"), rows("engine.md", "guard | context"))
def test_the_guards_of_the_reference_hold_as_it_says(guard: str, context: str, holds: str) -> None:
    assert holds in ("yes", "no")
    assert compile_guard(unquoted(guard))(json.loads(unquoted(context))) is (holds == "yes")


@pytest.mark.parametrize(("guard", "error"), rows("engine.md", "no guard |"))
def test_what_is_no_guard_is_refused_as_the_reference_says(guard: str, error: str) -> None:
    with pytest.raises(GuardSyntaxError) as refused:
        compile_guard(unquoted(guard))
    assert str(refused.value) == error


def test_the_normal_form_and_the_checksum_of_the_reference_are_the_engines() -> None:
    (definition,) = blocks("engine.md", "definition")
    (normal_form,) = blocks("engine.md", "normal form")
    (checksum,) = blocks("engine.md", "checksum")
    normal, _ = read_definition(json.loads(definition), strict=True)
    assert json.dumps(normal) == json.dumps(json.loads(normal_form))  # also the order of keys
    assert checksum_of(normal) == checksum


def test_the_definition_that_the_reference_begins_with_is_accepted() -> None:
    first = re.search(r"```json\n(.*?)\n```", text("engine.md"), re.DOTALL)
    assert first is not None
    read_definition(json.loads(first[1]), strict=True)


# -- the files --------------------------------------------------------------------------------


def test_every_record_kind_is_documented() -> None:
    documented = {int(row[0]): row[1] for row in rows("log-format.md", "type | record")}
    kinds = {
        getattr(rstmdb_wal, name): name.removeprefix("KIND_").lower().replace("_", " ")
        for name in rstmdb_wal.__all__
        if name.startswith("KIND_")
    }
    assert documented == {**kinds, rstmdb_wal.KIND_NOOP: "no-op"}


def test_record_kinds_and_entries_of_the_reference_belong_together() -> None:
    documented = {int(row[0]): row[2] for row in rows("log-format.md", "type | record")}
    for entry, kind in ENTRY_KINDS.items():
        assert documented[kind].startswith(f"`{entry.__struct_config__.tag}`")


def test_the_segment_of_the_reference_is_what_the_log_writes(tmp_path: Path) -> None:
    recovery = Recovery(
        tmp_path / "wal",
        options=LogOptions(preallocate_bytes=0),
        database_id=bytes(range(16)),
    )
    assert list(recovery) == []
    log = recovery.finish()
    log.append(KIND_CHECKPOINT, encode_entry(Checkpoint(timestamp=1_700_000_000_000)))
    log.flush()
    log.close()
    (shown,) = blocks("log-format.md", "segment")
    assert shown == hexdump((tmp_path / "wal" / "0000000000000001.wal").read_bytes())


def test_the_index_of_the_reference_has_the_checksum_that_it_describes() -> None:
    (shown,) = blocks("snapshot-format.md", "index")
    index = json.loads(shown)
    compact = json.dumps(index["snapshots"], separators=(",", ":")).encode()
    assert f"{crc32c(compact):08x}" == index["checksum"]


def test_every_fsync_policy_is_documented() -> None:
    kinds = set(typing.get_args(typing.get_type_hints(FsyncPolicy)["kind"]))
    promised = {
        unquoted(row[0]).partition(":")[0]
        for row in rows("../explanation/durability.md", "policy |")
    }
    assert promised == kinds
    setting = next(
        row for row in rows("configuration.md", "key |") if row[0] == "`storage.fsync_policy`"
    )
    for kind in kinds:
        assert kind in setting[3]


# -- settings and metrics ---------------------------------------------------------------------

DOCUMENTED_SETTINGS = {unquoted(row[0]): row for row in rows("configuration.md", "key |")}


def test_every_setting_is_documented_and_no_other() -> None:
    documented = {key: unquoted(row[1]) for key, row in DOCUMENTED_SETTINGS.items()}
    assert documented == {key: setting.variable for key, setting in SETTINGS.items()}


def default_of(key: str) -> str:
    section, _, name = key.partition(".")
    value = getattr(getattr(Config(), section), name)
    if value is None:
        return "none"
    if value == ():
        return "`[]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


@pytest.mark.parametrize("key", SETTINGS)
def test_every_default_is_documented(key: str) -> None:
    assert DOCUMENTED_SETTINGS[key][2] == default_of(key)


@pytest.mark.parametrize("key", SETTINGS)
def test_the_documented_ranges_are_those_that_are_accepted(key: str) -> None:
    shown = DOCUMENTED_SETTINGS[key][3]
    parse = SETTINGS[key].parse
    numbers = re.fullmatch(r"(\d+) to (\d+)", shown)
    if numbers is not None:
        low, high = int(numbers[1]), int(numbers[2])
        assert (parse(low), parse(high)) == (low, high)
        for beyond in (low - 1, high + 1):
            with pytest.raises(ValueError, match="whole number"):
                parse(beyond)
    elif re.fullmatch(r"(`[\w-]+`(, )?)+", shown):
        for name in re.findall(r"`([\w-]+)`", shown):
            assert parse(name) == name
    else:
        assert shown, f"{key} has no range"


def test_the_server_readme_has_every_setting_too() -> None:
    readme = (ROOT / "packages" / "rstmdb-server" / "README.md").read_text()
    for key, setting in SETTINGS.items():
        assert f"| `{key}` | `{setting.variable}` |" in readme


def test_the_file_of_the_reference_is_a_configuration(tmp_path: Path) -> None:
    (shown,) = blocks("configuration.md", "config")
    path = tmp_path / "rstmdb.yaml"
    path.write_text(shown)
    config = load_config(path, {}, {})
    assert config.storage.fsync_policy == FsyncPolicy.every_ms(50)
    assert config.warnings == ()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scraped(folder: Path) -> str:
    address = f"127.0.0.1:{free_port()}"
    env = {"RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": address}
    with ServerProcess(folder, env) as server:
        # The line that names the metrics' address comes once that takes connections.
        while not any("metrics on" in line for line in server.log_lines()):
            with server.connect() as connection:
                connection.sendall(b'{"id":"1","op":"PING"}\n')
                connection.recv(1000)
        with urllib.request.urlopen(f"http://{address}/metrics") as response:
            body: bytes = response.read()
    return body.decode()


def test_every_metric_is_documented_with_type_and_labels_and_no_other(tmp_path: Path) -> None:
    scrape = scraped(tmp_path)
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", scrape, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in types}
    for sample, given in re.findall(r"^(\w+)(?:\{(.*?)\})? ", scrape, re.MULTILINE):
        name = sample if sample in types else re.sub(r"_(bucket|sum|count)$", "", sample)
        labels[name] |= set(re.findall(r'(\w+)="', given)) - {"le"}
    documented = {unquoted(row[0]): row for row in rows("metrics.md", "metric |")}
    assert {name: row[1] for name, row in documented.items()} == types
    for name, row in documented.items():
        assert set(re.findall(r"`(\w+)`", row[2].partition(":")[0])) == labels[name], name


# -- the pages --------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page}: {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{page}: {target}#{anchor}"
