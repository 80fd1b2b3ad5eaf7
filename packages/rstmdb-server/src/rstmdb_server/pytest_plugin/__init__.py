"""Fixtures for the tests of programs that use rstmdb; pytest finds them by itself.

| fixture | what it is |
|---|---|
| `rstmdb_database` | an empty embedded database in memory (`rstmdb_storage.Database`) |
| `rstmdb_server` | a real server on a free port, with a directory of its own (RunningServer) |
| `rstmdb_url` | the URL of an empty database on a server that all tests share; starts once |
| `rstmdb_clock` | the clock of the first two, which only the test moves (Clock) |
| `rstmdb_crash` | call it to kill `rstmdb_server` and start it again, same directory and port |
| `rstmdb_settings` | RSTMDB_* settings of the servers; override it to change them |

Nothing of rstmdb is imported before one of them is used. `-p no:rstmdb` turns them off.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rstmdb_storage import Database

    from ._clock import Clock
    from ._running import RunningServer

__all__ = ["Clock", "RunningServer"]

LOG_LINES = 50


def __getattr__(name: str) -> object:
    """Import the classes, for annotations, when they are asked for."""
    if name == "Clock":
        from ._clock import Clock

        return Clock
    if name == "RunningServer":
        from ._running import RunningServer

        return RunningServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@pytest.fixture
def rstmdb_clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clock]:
    """A clock that stands still until the test moves it: `rstmdb_clock.advance(hours=25)`.

    `rstmdb_database` and `rstmdb_server` go by it.
    """
    from ._clock import Clock

    with Clock(tmp_path_factory.mktemp("rstmdb-clock") / "clock") as clock:
        yield clock


@pytest.fixture
def rstmdb_database(rstmdb_clock: Clock) -> Iterator[Database]:
    """An empty embedded database in memory, closed after the test."""
    from rstmdb_storage import Database

    with Database.open(":memory:", clock=rstmdb_clock) as database:
        yield database


@pytest.fixture(scope="session")
def rstmdb_settings() -> Mapping[str, str]:
    """RSTMDB_* settings of the servers, none unless this is overridden.

    Overridden with the scope of a session it counts for `rstmdb_url` as well, with a smaller
    one for `rstmdb_server` alone.
    """
    return {}


@pytest.fixture
def rstmdb_server(
    tmp_path_factory: pytest.TempPathFactory,
    rstmdb_clock: Clock,
    rstmdb_settings: Mapping[str, str],
) -> Iterator[RunningServer]:
    """A server process of this test alone, killed after it. Its log is shown if the test fails."""
    from ._running import RunningServer

    folder = tmp_path_factory.mktemp("rstmdb-server")
    with RunningServer(folder, rstmdb_settings, clock=rstmdb_clock) as server:
        yield server


@pytest.fixture
def rstmdb_crash(rstmdb_server: RunningServer) -> Callable[[], None]:
    """Call it to kill `rstmdb_server` with SIGKILL and start it again, at the same address."""
    return rstmdb_server.crash


@pytest.fixture(scope="session")
def _rstmdb_shared_server(
    tmp_path_factory: pytest.TempPathFactory, rstmdb_settings: Mapping[str, str]
) -> Iterator[RunningServer]:
    from ._running import RunningServer

    # What is written here need not outlast the machine; not to sync is much faster.
    settings = {
        "RSTMDB_FSYNC_POLICY": "never",
        "RSTMDB_ALLOW_FLUSH_ALL": "true",
        **rstmdb_settings,
    }
    with RunningServer(tmp_path_factory.mktemp("rstmdb-shared"), settings) as server:
        yield server


@pytest.fixture
def rstmdb_url(_rstmdb_shared_server: RunningServer) -> str:
    """The URL of an empty database, emptied before each test; its server starts only once."""
    _rstmdb_shared_server.flush_all()
    return _rstmdb_shared_server.url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's log with a test that failed."""
    report = yield
    server = getattr(item, "funcargs", {}).get("rstmdb_server")
    if report.failed and server is not None:
        report.sections.append(("rstmdb-server log", "\n".join(server.log_lines()[-LOG_LINES:])))
    return report
