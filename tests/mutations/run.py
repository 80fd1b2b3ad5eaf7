"""Break each protection on purpose and see a test fail: `nox -s mutations`.

Each mutation replaces one piece of source in a copy of the package, which is put before the
real one, and runs the tests that should notice. Exits 1 if a mutation survives. `--table FILE`
writes what was broken and which test failed first.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutation(NamedTuple):
    """One protection, and how it is broken."""

    protection: str
    package: str
    module: str
    old: str
    new: str


WAL = "rstmdb-wal"
STORAGE = "rstmdb-storage"

MUTATIONS = (
    Mutation(
        "a write is answered only after its fsync", WAL, "_writer.py",
        "            if self.sync:\n                self._writer.sync()\n", "",
    ),
    Mutation(
        "the segment that is closed is synced at rotation", WAL, "_writer.py",
        "        self.trim()\n        self.sync()\n", "        self.trim()\n",
    ),
    Mutation(
        "the directory is synced when a segment is made", WAL, "_writer.py",
        "                self._fs.fsync_dir(self._directory)\n", "                pass\n",
    ),
    Mutation(
        "the header of a segment is synced before any record", WAL, "_writer.py",
        "            self._sync(file)\n        except BaseException:",
        "        except BaseException:",
    ),
    Mutation(
        "a failed fsync is final: a second one is not believed", WAL, "_commit.py",
        "        self.failed = error\n", "        self._released_before_failure = error\n",
    ),
    Mutation(
        "what no later record proves synced is written again", WAL, "_recovery.py",
        "        rewrite(self._fs, last.path, start, self._end)\n", "",
    ),
    Mutation(
        "writing goes on in a new segment, so that no offset comes twice", WAL, "_recovery.py",
        "            highest_segment_id(self._names) + 1,\n",
        "            highest_segment_id(self._names),\n",
    ),
    Mutation(
        "a torn write is told from damage by the durable gap", WAL, "_replay.py",
        "proves = found.gap < UNKNOWN_GAP and found.sequence - found.gap >= missing",
        "proves = False",
    ),
    Mutation(
        "a torn write is no damage", WAL, "_replay.py",
        "proves = found.gap < UNKNOWN_GAP and found.sequence - found.gap >= missing",
        "proves = True",
    ),
    Mutation(
        "the torn tail is kept in a file of its own before the cut", WAL, "_recovery.py",
        "            report.broken_file = cut_tail(self._fs, last.path, self._cut, self._names)\n",
        "            pass\n",
    ),
    Mutation(
        "the checksum covers the header", WAL, "_record.py",
        "    elif not flags & FLAG_OURS or crc != crc32c(\n"
        "        stored, crc32c(data[at + 4 : at + 12] + data[at + 16 : at + 24], seed)\n    ):",
        "    elif not flags & FLAG_OURS:",
    ),
    Mutation(
        "the checksum of a record that is taken in a run is checked", WAL, "_scan.py",
        "            if crc != crc32(stored, crc32(data[at + 4 : at + 12] + data[at + 16 : begin], "
        "seed)):\n                break\n", "",
    ),
    Mutation(
        "a snapshot is read back and verified before segments are deleted", STORAGE,
        "_snapshot/_writer.py", "        _verify(fs, path, checksum)\n", "",
    ),
    Mutation(
        "a snapshot is synced before it is renamed", STORAGE, "_snapshot/_writer.py",
        "        file.fsync()\n", "",
    ),
    Mutation(
        "the directory is synced after a snapshot is renamed", STORAGE, "_snapshot/_writer.py",
        "        fs.fsync_dir(path.parent)\n", "",
    ),
    Mutation(
        "a snapshot waits until the log is synced up to it", STORAGE, "_maintenance.py",
        "    yield Durable(head)\n    try:\n        info", "    try:\n        info",
    ),
    Mutation(
        "what a failed flush could not write is undone", STORAGE, "_recording.py",
        "            self._undo(result.released)\n", "",
    ),
)  # fmt: skip


def broken_copy(mutation: Mutation, folder: Path) -> Path:
    """A copy of the package's source with the protection broken."""
    name = mutation.package.replace("-", "_")
    source = ROOT / "packages" / mutation.package / "src"
    copy = folder / "src"
    shutil.copytree(source, copy)
    module = copy / name / mutation.module
    text = module.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(
            f"{mutation.protection}: its code is in {mutation.module} "
            f"{text.count(mutation.old)} times; bring the mutation up to date"
        )
    module.write_text(text.replace(mutation.old, mutation.new))
    return copy


def first_failure(mutation: Mutation) -> str | None:
    """Run the tests against the broken copy; the test that failed first, or None."""
    packages = (mutation.package, STORAGE) if mutation.package == WAL else (STORAGE,)
    with tempfile.TemporaryDirectory() as folder:
        copy = broken_copy(mutation, Path(folder))
        for package in packages:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
                 f"packages/{package}/tests"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                check=False,
            )  # fmt: skip
            found = re.search(r"^(?:FAILED|ERROR) packages/\S+?::(\w+)", done.stdout, re.MULTILINE)
            if done.returncode == 1 and found:
                return found[1]
            if done.returncode not in (0, 1):
                raise SystemExit(done.stdout + done.stderr)
    return None


def main() -> int:
    """Break everything in turn; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="write the result as a Markdown table")
    table = parser.parse_args().table
    rows = []
    for mutation in MUTATIONS:
        test = first_failure(mutation)
        rows.append((mutation.protection, mutation.package, test))
        print(f"{'caught' if test else 'SURVIVED'}: {mutation.protection}: {test}", flush=True)
    if table is not None:
        lines = [f"| {what} | {package} | `{test}` |" for what, package, test in rows]
        table.write_text("\n".join(["| protection | package | test that fails without it |",
                                    "|---|---|---|", *lines, ""]))  # fmt: skip
    return 0 if all(test for *_, test in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
