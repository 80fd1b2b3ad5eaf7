"""The simulated file system must itself lose and keep what it says."""

import errno
from pathlib import Path

import pytest

from rstmdb_wal.testing import SimulatedCrash, SimulatedFileSystem

FILE = Path("/data/file")


def synced(seed: int, content: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed)
    file = fs.create(FILE)
    file.pwrite(content, 0)
    file.fsync()
    fs.fsync_dir(FILE.parent)
    return fs


def test_what_was_synced_survives_and_what_was_not_may_be_any_part() -> None:
    found = set()
    for seed in range(300):
        fs = synced(seed, b"aaaa")
        file = fs.open_append(FILE)
        file.pwrite(b"bb", 4)
        file.pwrite(b"cc", 6)
        found.add(fs.power_loss().peek(FILE))
    assert all(content[:4] == b"aaaa" for content in found)
    expected = {
        b"aaaa",
        b"aaaabb",
        b"aaaab",
        b"aaaabbc",
        b"aaaabbcc",
        b"aaaa\0\0cc",
        b"aaaa\0\0\0\0",
    }
    assert expected <= found


def test_names_survive_only_with_their_directory() -> None:
    outcomes = set()
    for seed in range(50):
        fs = SimulatedFileSystem(seed)
        file = fs.create(FILE)
        file.pwrite(b"x", 0)
        file.fsync()
        outcomes.add(tuple(fs.power_loss().names("/data")))
    assert outcomes == {(), ("file",)}
    fs = synced(1, b"x")
    fs.rename(FILE, Path("/data/other"))
    fs.fsync_dir(Path("/data"))
    assert fs.power_loss().names("/data") == ["other"]


def test_a_crash_of_the_process_keeps_all_and_syncs_nothing() -> None:
    lost = False
    for seed in range(30):
        fs = synced(seed, b"aa")
        fs.open_append(FILE).pwrite(b"bb", 2)
        after = fs.crash()
        assert after.peek(FILE) == b"aabb"
        lost |= after.power_loss().peek(FILE) != b"aabb"
    assert lost


def test_a_failed_sync_leaves_pages_clean_so_that_a_later_one_does_not_help() -> None:
    lost = False
    for seed in range(30):
        fs = synced(seed, b"aa")
        file = fs.open_append(FILE)
        file.pwrite(b"bb", 2)
        fs.inject("fdatasync", 1, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            file.fdatasync()
        file.fdatasync()
        assert fs.peek(FILE) == b"aabb"
        lost |= fs.power_loss().peek(FILE) != b"aabb"
    assert lost


def test_nothing_works_after_a_crash_and_the_same_seed_loses_the_same() -> None:
    contents = []
    for _ in range(2):
        fs = synced(5, b"aa")
        fs.open_append(FILE).pwrite(bytes(5000), 2)
        fs.crash_at = fs.calls + 1
        with pytest.raises(SimulatedCrash):
            fs.listdir(Path("/data"))
        with pytest.raises(SimulatedCrash):
            fs.exists(FILE)
        contents.append(fs.power_loss().peek(FILE))
    assert contents[0] == contents[1]


def test_faults_happen_at_their_call_once_or_from_then_on() -> None:
    fs = synced(1, b"aa")
    fs.inject("exists", 2, errno.EIO)
    assert fs.exists(FILE)
    with pytest.raises(OSError, match="Input/output"):
        fs.exists(FILE)
    assert fs.exists(FILE)
    fs.inject("any", 1, errno.EIO, lasting=True)
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            fs.exists(FILE)
    fs.clear_faults()
    assert fs.exists(FILE)


def test_a_full_disk_takes_what_fits() -> None:
    fs = synced(1, b"aa")
    fs.free_bytes = 3
    file = fs.open_append(FILE)
    assert file.pwrite(b"bbbb", 2) == 3
    with pytest.raises(OSError, match="No space"):
        file.pwrite(b"b", 5)
    assert file.pwrite(b"cc", 0) == 2


def test_a_renamed_directory_takes_all_in_it_along_and_stays_once_synced() -> None:
    outcomes = set()
    for seed in range(30):
        fs = SimulatedFileSystem(seed)
        fs.mkdir_now("/data/old")
        fs.mkdir_now("/data/old/inner")
        fs.poke("/data/old/inner/file", b"x")
        fs.rename(Path("/data/old"), Path("/data/new"))
        assert fs.peek("/data/new/inner/file") == b"x"
        lost = fs.crash().power_loss()
        outcomes.add(tuple(lost.listdir(Path("/data"))))
        synced = SimulatedFileSystem(seed)
        synced.mkdir_now("/data/old")
        synced.rename(Path("/data/old"), Path("/data/new"))
        synced.fsync_dir(Path("/data"))
        assert synced.power_loss().listdir(Path("/data")) == ["new"]
    assert outcomes == {("new",), ("old",)}
    fs = SimulatedFileSystem()
    fs.mkdir_now("/data/old")
    fs.mkdir_now("/data/new")
    with pytest.raises(OSError, match="not empty"):
        fs.rename(Path("/data/old"), Path("/data/new"))


def test_after_a_crash_nothing_works_not_even_a_file_that_was_being_closed() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(Path("/data/x"))
    fs.crash_at = fs.calls + 1
    for call in (file.close, file.close, file.size):
        with pytest.raises(SimulatedCrash):
            call()
