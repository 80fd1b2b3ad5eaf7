"""Does what a page of the documentation tells its reader to do, and compares what comes of it.

A page is Markdown. In its order, and in one directory:

- a block of `sh` is run by bash, as if typed into one terminal: its directory and its exported
  variables are kept for the next. A failing line ends it.
- a block of `python` is run as a script;
- `<!-- file NAME -->` before a block: it is saved as that file instead;
- `<!-- in TERMINAL until "TEXT" -->` before a block of sh: it is started in another terminal and
  left running once it has printed the text;
- `<!-- ctrl-c TERMINAL -->`: as it says, and waits for the end;
- `<!-- exit N -->` before a block of sh: it has to end with this code;
- `<!-- output -->` before a block: what the last one printed, or, with `of TERMINAL`, what that
  prints; `...` stands for anything, and long numbers, times and UUIDs may differ;
- `<!-- not run: REASON -->` before a block: it is for the reader only.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "PageError", "Walkthrough", "blocks_of"]

TIMEOUT_SECS = 60.0
PORTS = ("7401", "9090")
"""The ports of the pages; a run has free ones in their places."""

TOKEN = re.compile(
    r"^<!-- (?P<marker>.+?) -->$|^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
VARIABLE = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d{8}T\d{6}Z"), "TIME"),
    (re.compile(r"\b\d{10,}\b"), "NUMBER"),
    (re.compile(r"[ \t]+"), " "),
)


class PageError(AssertionError):
    """The page does not do what it says."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block with the markers before it, or a marker alone (without language)."""

    line: int
    markers: tuple[str, ...]
    language: str = ""
    body: str = ""

    def marker(self, pattern: str) -> re.Match[str] | None:
        """The first marker that is wholly matched."""
        for one in self.markers:
            found = re.fullmatch(pattern, one)
            if found:
                return found
        return None


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a page, and the markers that stand alone."""
    pending: list[str] = []
    end = 0
    for token in TOKEN.finditer(text):
        if text[end : token.start()].strip():
            pending = []  # what stands before prose does not belong to a block behind it
        end = token.end()
        line = text.count("\n", 0, token.start()) + 1
        marker = token["marker"]
        if marker is None:
            yield Block(line, tuple(pending), token["language"], token["body"])
            pending = []
        elif marker.startswith("ctrl-c "):
            yield Block(line, (marker,))
        else:
            pending.append(marker)


def plain(text: str) -> str:
    """Text without what may differ between two runs."""
    for pattern, stands_for in VARIABLE:
        text = pattern.sub(stands_for, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def matches(expected: str, real: str) -> bool:
    """Whether output is as a page shows it."""
    pattern = re.escape(plain(expected)).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, plain(real), re.DOTALL) is not None


def free_port() -> str:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Walkthrough:
    """One reading of one page, in `folder`. A context manager: nothing outlives it."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder / "page"
        self.folder.mkdir(parents=True)
        self._own = folder
        self._ports = dict(zip(PORTS, (free_port(), free_port()), strict=True))
        self._terminals: dict[str, subprocess.Popen[bytes]] = {}
        self._output = ""
        server, metrics = self._ports.values()
        ours = ("RSTMDB_", "XDG_", "RUST_LOG")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self._env = inherited | {
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RSTMDB_BIND": f"127.0.0.1:{server}",
            "RSTMDB_METRICS_BIND": f"127.0.0.1:{metrics}",
            "RSTMDB_SERVER": f"127.0.0.1:{server}",
            "RSTMDB_LOG_FORMAT": "pretty",
        }

    def __enter__(self) -> Walkthrough:
        return self

    def __exit__(self, *_: object) -> None:
        for terminal in self._terminals.values():
            self._signal(terminal, signal.SIGKILL)

    def run(self) -> int:
        """Do everything that the page says; how many blocks were run. Raises PageError."""
        count = 0
        for block in blocks_of(self.page.read_text()):
            count += self._step(block)
        return count

    def _step(self, block: Block) -> bool:
        """One block; whether something was run."""
        if block.marker("not run: .+"):
            return False
        if stop := block.marker(r"ctrl-c (\w+)"):
            self._interrupt(block, stop[1])
        elif block.marker("output"):
            self._compare(block, self._output)
        elif shown := block.marker(r"output of (\w+)"):
            self._compare_terminal(block, shown[1])
        elif file := block.marker(r"file (\S+)"):
            path = self.folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._with_real_ports(block.body))
        elif start := block.marker(r'in (\w+) until "(.+)"'):
            self._start(block, start[1], start[2])
            return True
        elif block.language in ("sh", "python"):
            code = block.marker(r"exit (\d+)")
            self._run(block, int(code[1]) if code else 0)
            return True
        return False

    def _run(self, block: Block, expected: int) -> None:
        state, cwd = self._own / "state.sh", self._own / "cwd"
        if block.language == "python":
            command = ["python", "-W", "error", "-c", self._with_real_ports(block.body)]
            where = cwd.read_text().strip() if cwd.exists() else str(self.folder)
        else:
            script = (
                f'if [ -f {state} ]; then . {state}; cd "$(cat {cwd})"; fi\n'
                f"trap 'export -p >{state}; pwd >{cwd}' EXIT\n"
                f"set -euo pipefail\n{self._with_real_ports(block.body)}"
            )
            command, where = ["bash", "-c", script], str(self.folder)
        try:
            done = subprocess.run(
                command,
                cwd=where,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECS,
            )
        except subprocess.TimeoutExpired as late:
            raise self._error(block, f"took longer than {TIMEOUT_SECS:g} s", late.output) from late
        self._output = self._with_shown_ports(done.stdout)
        if done.returncode != expected:
            raise self._error(block, f"ended with {done.returncode}", done.stdout)

    def _start(self, block: Block, name: str, text: str) -> None:
        before = self._terminals.get(name)
        if before is not None:
            self._ended(block, before, f"terminal {name} is busy")
        with self._screen(name).open("wb") as screen:
            self._terminals[name] = subprocess.Popen(
                ["bash", "-c", self._with_real_ports(block.body)],
                cwd=self.folder,
                env=self._env | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait(block, name, lambda shown: text in shown, f"never printed {text!r}")

    def _compare_terminal(self, block: Block, name: str) -> None:
        self._wait(
            block, name, lambda shown: matches(block.body, shown), f"expected:\n{block.body}"
        )

    def _wait(self, block: Block, name: str, arrived: Callable[[str], bool], what: str) -> None:
        screen = b""
        deadline = time.monotonic() + TIMEOUT_SECS
        while time.monotonic() < deadline:
            ended = self._terminals[name].poll() is not None
            screen = self._screen(name).read_bytes()
            if arrived(self._with_shown_ports(screen)):
                return
            if ended:
                break
            time.sleep(0.02)
        raise self._error(block, what, screen)

    def _interrupt(self, block: Block, name: str) -> None:
        terminal = self._terminals[name]
        self._signal(terminal, signal.SIGINT)
        code = self._ended(block, terminal, "did not stop")
        if code != 0:
            screen = self._screen(name).read_bytes()
            raise self._error(block, f"ended with {code} after Ctrl-C", screen)

    def _ended(self, block: Block, terminal: subprocess.Popen[bytes], what: str) -> int:
        """The exit code of what ran in a terminal; a killed process may take a moment."""
        try:
            return terminal.wait(TIMEOUT_SECS)
        except subprocess.TimeoutExpired as late:
            raise self._error(block, what, b"") from late

    def _compare(self, block: Block, real: str) -> None:
        if not matches(block.body, real):
            raise self._error(block, f"expected:\n{block.body}", real.encode())

    def _screen(self, name: str) -> Path:
        return self._own / f"{name}.screen"

    def _signal(self, terminal: subprocess.Popen[bytes], number: int) -> None:
        if terminal.poll() is None:
            os.killpg(terminal.pid, number)
            if number == signal.SIGKILL:
                terminal.wait()

    def _with_real_ports(self, text: str) -> str:
        for shown, real in self._ports.items():
            text = text.replace(shown, real)
        return text

    def _with_shown_ports(self, printed: bytes) -> str:
        text = printed.decode(errors="replace")
        for shown, real in self._ports.items():
            text = re.sub(rf"\b{real}\b", shown, text)
        return text

    def _error(self, block: Block, what: str, output: bytes | None) -> PageError:
        shown = (output or b"").decode(errors="replace")
        return PageError(f"{self.page}:{block.line}: {what}\n--- printed:\n{shown}")
