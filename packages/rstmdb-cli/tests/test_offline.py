"""The offline tools, on directories that the embedded database made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rstmdb_cli.main import main
from rstmdb_storage import Database

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with Database.open(folder) as db:
        db.put_machine("ring", 1, RING)
        db.create_instance("ring", 1, instance_id="r")
        for n in range(10):
            db.apply_event("r", "T", {"n": n})
    return folder


def damage(directory: Path) -> None:
    segment = min((directory / "wal").glob("*.wal"))
    data = bytearray(segment.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 1
    segment.write_bytes(data)


def test_verify_of_a_sound_directory_counts_and_exits_with_zero(directory: Path) -> None:
    result = run("-o", "json", "verify", str(directory))
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["opens"] is True
    assert report["instances"] == 1
    assert report["kinds"]["apply_event"] == 10
    assert report["damage"] == []


def test_verify_of_a_damaged_directory_says_what_and_exits_with_one(directory: Path) -> None:
    damage(directory)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    result = run("-o", "json", "verify", str(directory))
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["opens"] is False
    assert "sequence" in report["damage"][0]
    after = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert after == before


def test_repair_asks_and_keeps_what_it_removes(directory: Path) -> None:
    damage(directory)
    assert run("repair", str(directory)).exit_code != 0
    result = run("-o", "json", "repair", "--yes", str(directory))
    assert result.exit_code == 0, result.output
    saved = json.loads(result.stdout)["saved"]
    assert saved
    assert run("verify", str(directory)).exit_code == 0
    with Database.open(directory) as db:
        assert db.get_instance("r").ctx["n"] < 9


def test_dump_prints_every_record_as_a_json_line(directory: Path) -> None:
    result = run("dump", str(directory))
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert "apply_event" in json.dumps(lines)
    assert len(lines) >= 12


def test_stats_tell_sizes(directory: Path) -> None:
    result = run("-o", "json", "stats", str(directory))
    assert result.exit_code == 0
    assert json.loads(result.stdout)


def test_restore_goes_back_to_an_offset(directory: Path, tmp_path: Path) -> None:
    with Database.open(directory) as db:
        offset = db.apply_event("r", "T", {"n": 100}).wal_offset
        db.apply_event("r", "T", {"n": 101})
        db.backup(tmp_path / "backup")
    newest, earlier = tmp_path / "newest", tmp_path / "earlier"
    assert run("restore", str(tmp_path / "backup"), str(newest)).exit_code == 0
    done = run("restore", "--to-offset", str(offset), str(tmp_path / "backup"), str(earlier))
    assert done.exit_code == 0, done.output
    for folder, n in ((newest, 101), (earlier, 100)):
        with Database.open(folder) as db:
            assert db.get_instance("r").ctx == {"n": n}
    assert run("restore", str(tmp_path / "backup"), str(newest)).exit_code == 1


def test_a_directory_that_is_open_is_refused_and_the_owner_named(directory: Path) -> None:
    with Database.open(directory):
        result = run("verify", str(directory))
    assert result.exit_code == 1
    assert "process" in result.stderr


def test_a_restore_can_begin_offsets_anew(directory: Path, tmp_path: Path) -> None:
    offsets = {}
    for name, options in (("behind", ()), ("anew", ("--renumber",))):
        done = run("restore", *options, str(directory), str(tmp_path / name))
        assert done.exit_code == 0, done.output
        with Database.open(tmp_path / name) as db:
            assert db.get_instance("r").ctx == {"n": 9}
            offsets[name] = db.get_instance("r").last_wal_offset
    assert offsets["anew"] < offsets["behind"]
