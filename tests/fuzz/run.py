"""Fuzz the targets with atheris, guided by what their code has reached: `nox -s fuzz`.

Seeds and what was found before lie in `tests/fuzz/corpus/TARGET`. A finding is kept there as
`crash-...`, printed, and makes the exit code 1; it stays as a regression test.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Fuzz in this process, until libFuzzer ends it."""
    import atheris

    sys.path.insert(0, str(HERE.parent))
    with atheris.instrument_imports(include=["rstmdb_core", "rstmdb_protocol", "rstmdb_server"]):
        from fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def fuzz(name: str, seconds: int, seed: int) -> bool:
    """Fuzz in a process of its own; whether nothing was found."""
    seeds = CORPUS / name
    with tempfile.TemporaryDirectory() as grown:
        options = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            "-max_len=2048",
            "-timeout=10",
            "-rss_limit_mb=2048",
            f"-artifact_prefix={seeds}/",
            "-print_final_stats=1",
        ]
        command = [sys.executable, __file__, "--one", name, *options, grown, str(seeds)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    executions = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    print(
        f"{name}: {int(executions[1]) if executions else 0:,} executions, "
        f"{covered[-1] if covered else 0} branches, "
        f"{'nothing found' if done.returncode == 0 else 'FOUND SOMETHING'}",
        flush=True,
    )
    if done.returncode != 0:
        print(done.stderr[-4000:])
    return done.returncode == 0


def main() -> int:
    """Fuzz the targets that were named, or all."""
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(path.name for path in CORPUS.iterdir())
    parser.add_argument("targets", nargs="*", default=names, help=f"of {', '.join(names)}")
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    calm = [fuzz(name, options.seconds, options.seed) for name in options.targets]
    return 0 if all(calm) else 1


if __name__ == "__main__":
    sys.exit(main())
