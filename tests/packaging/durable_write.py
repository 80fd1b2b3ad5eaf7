"""What is installed works: a write through the command line survives `kill -9` of the server.

    python durable_write.py DIST

For each supported version of Python that is installed, an empty environment gets the wheels of
server and command line, and their commands do the rest. With the oldest, it is done once more with
the lowest versions of other packages that our own say they work with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environments import make_environment
from pythons import find, installed, supported

START_TIMEOUT_SECS = 60.0
LIGHT = {
    "states": ["off", "on"],
    "initial": "off",
    "transitions": [{"from": "off", "event": "SWITCH", "to": "on", "guard": "ctx.fuse == true"}],
}


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that would lead elsewhere."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("RSTMDB_", "PYTHON", "VIRTUAL_ENV"))
    }


@contextmanager
def serving(commands: Path, folder: Path) -> Iterator[str]:
    """The installed server on a free port; its address. Ends with SIGKILL."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [commands / "rstmdb-server", "--data-dir", folder / "data", "--bind", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**clean_environment(), "RSTMDB_LOG_FORMAT": "json"},
        )
    try:
        yield _address(process, log)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            message = json.loads(line)["message"] if line.startswith("{") else ""
            if message.startswith("listening on "):
                return str(message.split()[2])
        time.sleep(0.05)
    raise RuntimeError(f"the installed server did not start:\n{log.read_text()}")


def ask(commands: Path, address: str, *arguments: str) -> Any:
    """Run the installed command line; the result as JSON."""
    done = subprocess.run(
        [commands / "rstmdb-cli", "--server", address, "--json", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"rstmdb-cli {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def survive(commands: Path, folder: Path) -> None:
    """Write, kill, start again, read. Raises RuntimeError where anything is lost."""
    with serving(commands, folder) as address:
        ask(commands, address, "put-machine", "-n", "light", "-v", "1", json.dumps(LIGHT))
        ask(
            commands, address, "create-instance", "-m", "light", "-V", "1", "-i", "hall",
            "-c", '{"fuse": true}',
        )  # fmt: skip
        applied = ask(commands, address, "apply-event", "-i", "hall", "-e", "SWITCH")
    with serving(commands, folder) as address:
        found = ask(commands, address, "get-instance", "hall")
    if (found["state"], found["last_wal_offset"]) != ("on", applied["wal_offset"]):
        raise RuntimeError(f"lost after kill -9: {applied} was answered, {found} is there")
    verified = subprocess.run(
        [commands / "rstmdb-cli", "verify", folder / "data"],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    if verified.returncode != 0:
        raise RuntimeError(f"rstmdb-cli verify: {verified.stdout}{verified.stderr}")


def main() -> int:
    """Try every interpreter; the exit code."""
    dist = Path(sys.argv[1]).resolve()
    failed = 0
    oldest = find(supported()[0])  # newer ones have no wheels of what was the lowest then
    trials = [(python, False) for python in installed()]
    for python, lowest in [*trials, *([(oldest, True)] if oldest else [])]:
        what = f"{python}{', lowest requirements' if lowest else ''}"
        with tempfile.TemporaryDirectory() as folder:
            commands = make_environment(
                Path(folder) / "env", python, dist, "server[uvloop]", "cli[offline]", lowest=lowest
            )
            try:
                survive(commands, Path(folder))
            except RuntimeError as error:
                failed += 1
                print(f"{what}: {error}")
            else:
                print(f"{what}: a write through the installed commands survived kill -9")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
