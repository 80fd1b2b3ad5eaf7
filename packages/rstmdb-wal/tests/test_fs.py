import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rstmdb_wal import DirectoryLocked, LogOptions, Recovery
from rstmdb_wal.fs import (
    OsFileSystem,
    copy_range,
    read_bytes,
    read_full,
    replace_file,
    write_full,
)
from rstmdb_wal.testing import SimulatedFileSystem


def test_a_log_on_a_real_disk_comes_back(tmp_path: Path) -> None:
    options = LogOptions(segment_bytes=10_000)
    expected: list[bytes] = []
    for start in range(3):
        recovery = Recovery(tmp_path / "wal", options=options)
        assert [r.payload for r in recovery] == expected
        log = recovery.finish()
        for n in range(200):
            expected.append(b"%d %d" % (start, n) * 10)
            log.append(3, expected[-1])
            if n % 20 == 0:
                log.flush()
        log.close()
        assert [r.payload for r in log.read(0)] == expected
    last = max((tmp_path / "wal").glob("*.wal"))
    os.truncate(last, last.stat().st_size - 3)
    recovery = Recovery(str(tmp_path / "wal"))
    assert [r.payload for r in recovery] == expected[:-1]
    log = recovery.finish()
    assert (tmp_path / "wal" / f"{last.name}.1.broken").exists()
    assert log.drop_before(log.next_offset)[0] > 3
    log.close()


def test_a_directory_has_one_owner_and_a_second_one_hears_who(tmp_path: Path) -> None:
    fs = OsFileSystem()
    lock = fs.lock(tmp_path / "LOCK")
    code = (
        "import sys; from pathlib import Path; from rstmdb_wal.fs import OsFileSystem\n"
        "try: OsFileSystem().lock(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error.holder)\n"
        "else: print('taken')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "LOCK")]
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout.strip() == f"DirectoryLocked {os.getpid()}"
    with pytest.raises(DirectoryLocked, match=f"process {os.getpid()}"):
        fs.lock(tmp_path / "LOCK")
    lock.release()
    lock.release()
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert third.stdout.strip() == "taken"


def test_a_read_only_directory_is_an_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    recovery = Recovery(tmp_path / "wal")
    assert list(recovery) == []
    with pytest.raises(PermissionError):
        recovery.finish()


def test_files_are_not_for_the_world(tmp_path: Path) -> None:
    OsFileSystem().create(tmp_path / "x").close()
    assert (tmp_path / "x").stat().st_mode & 0o007 == 0


def test_a_replaced_file_is_the_old_or_the_new_one_after_a_crash_at_any_call() -> None:
    path = Path("/data/index.json")
    for call in range(1, 20):
        for power in (False, True):
            fs = SimulatedFileSystem(call)
            fs.poke(path, b"old")
            fs.crash_at = call
            done = False
            try:
                replace_file(fs, path, b"new" * 1000)
                done = True
            except BaseException:  # noqa: BLE001 - the crash
                pass
            fs = fs.power_loss() if power else fs.crash()
            content = fs.peek(path)
            assert content in (b"old", b"new" * 1000)
            assert not done or content != b"old"


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else() -> None:
    path = Path("/data/index.json")
    for operation in ("create", "pwrite", "fsync", "rename"):
        fs = SimulatedFileSystem()
        fs.poke(path, b"old")
        fs.inject(operation, 1, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            replace_file(fs, path, b"new")
        assert fs.peek(path) == b"old"
        assert fs.names("/data") == ["index.json"]


def test_whole_reads_writes_and_copies_get_past_short_counts() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(Path("/data/a"))
    fs.inject_short_write(1, 3)
    assert write_full(file, b"0123456789", 0) == 2
    assert read_full(file, 100, 0) == b"0123456789"
    assert read_full(file, 4, 3) == b"3456"
    other = fs.create(Path("/data/b"))
    copy_range(file, 2, 8, other, 1)
    assert read_bytes(fs, Path("/data/b")) == b"\x00234567"
    with pytest.raises(OSError, match="ends before"):
        copy_range(file, 2, 80, other, 0)
    fs.inject_short_write(1, 0)
    with pytest.raises(OSError, match="took nothing"):
        write_full(file, b"x", 0)
