"""Everything the project can be asked to do: `nox --list` shows it, `nox -s NAME` does it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "contracts", "tests", "packages"]
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
DISTRIBUTIONS = ("protocol", "wal", "core", "storage", "server", "client", "cli", "bench")
TEST_TOOLS = (
    "pytest",
    "pytest-timeout",
    "hypothesis",
    "msgpack",
    "trio",
    "trustme",
    "pexpect",
    "opentelemetry-exporter-otlp-proto-http",
    "matplotlib",
)

DOC_TOOLS = ("sphinx", "myst-parser", "furo")


def _package(name: str) -> str:
    return f"packages/rstmdb-{name}"


def _install(session: nox.Session, names: tuple[str, ...], *tools: str) -> None:
    """Install siblings editable and together, so that none is looked for in the registry."""
    editable = [part for name in names for part in ("-e", _package(name))]
    extras = ["uvloop"] if "server" in names and sys.platform == "linux" else []
    session.install(*editable, *extras, *tools, "-c", "constraints.txt")


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's rules and its formatting."""
    session.install("ruff", "-c", "constraints.txt")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy --strict over sources and tests."""
    _install(session, DISTRIBUTIONS, "mypy", "types-PyYAML", *TEST_TOOLS)
    for name in DISTRIBUTIONS:
        session.run("mypy", f"{_package(name)}/src", f"{_package(name)}/tests")
    session.run("mypy", "tests", "examples", "benchmarks")


@nox.session
def contracts(session: nox.Session) -> None:
    """Imports: who may import whom, as docs/explanation/architecture.md says."""
    _install(session, DISTRIBUTIONS, "import-linter")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests in their short form; arguments go to pytest."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS)
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """The long form of the suites: crashes, power losses, kills. About an hour."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS)
    scale = os.environ.get("RSTMDB_TEST_SCALE", "10")
    session.run(
        "pytest", "-m", "slow", "--timeout=7200", *session.posargs, env={"RSTMDB_TEST_SCALE": scale}
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines and branches the tests reach."""
    _install(session, DISTRIBUTIONS, "coverage", *TEST_TOOLS)
    session.run("coverage", "run", "-m", "pytest", "-m", "not slow", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def packages(session: nox.Session) -> None:
    """Each distribution: build sdist and wheel, install the wheel alone, import it."""
    session.install("build", "hatchling", "-c", "constraints.txt")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for name in DISTRIBUTIONS:
        session.run(
            "python", "-m", "build", "-q", "--no-isolation", "-o", str(dist), _package(name)
        )
    session.run("python", "tests/packaging/install_alone.py", str(dist))


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/docs; warnings are errors."""
    _install(session, DISTRIBUTIONS, *DOC_TOOLS, "pytest")
    session.run("python", "docs/images/draw.py")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")
    session.log("open build/docs/index.html")


@nox.session
def demo(session: nox.Session) -> None:
    """The main job, told as a story: a real server, killed in mid-write, loses nothing."""
    _install(session, ("protocol", "wal", "core", "storage", "server", "client"))
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Load figures beside their floors: `nox -s bench -- --seconds 5`."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session(name="client-overhead")
def client_overhead(session: nox.Session) -> None:
    """What a call costs its client, beside a bare socket, and what it costs to start."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "benchmarks/client_overhead.py", *session.posargs)


@nox.session
def million(session: nox.Session) -> None:
    """A million instances: recovery, compaction and the longest wait during it, memory."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "benchmarks/million.py", *session.posargs)


@nox.session
def mutations(session: nox.Session) -> None:
    """Break each protection on purpose; some test must notice each time."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS)
    session.run("python", "tests/mutations/run.py", *session.posargs)
