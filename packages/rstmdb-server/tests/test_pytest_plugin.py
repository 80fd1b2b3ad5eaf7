"""The pytest plugin, run as its users run it: a suite of theirs in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rstmdb_client  # noqa: F401 (here, so that no suite below imports them anew)
import rstmdb_storage  # noqa: F401
from rstmdb_server.pytest_plugin import Clock, RunningServer

pytest_plugins = ["pytester"]

MACHINE = """
        MACHINE = {
            "states": ["on"],
            "initial": "on",
            "transitions": [{"from": "on", "event": "SET", "to": "on"}],
        }
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]')
    return pytester


def passes(suite: pytest.Pytester, source: str, count: int) -> None:
    suite.makepyfile(source.replace("# MACHINE", MACHINE.strip()))
    suite.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=count)


def test_an_embedded_database_for_each_test(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        import pytest
        from rstmdb_storage import Database

        # MACHINE

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it_is_empty(turn, rstmdb_database: Database):
            assert rstmdb_database.list_machines().items == []
            rstmdb_database.put_machine("m", 1, MACHINE)
            rstmdb_database.create_instance("m", 1, instance_id="i")
            assert rstmdb_database.apply_event("i", "SET", {"n": turn}).ctx == {"n": turn}
        """,
        2,
    )


def test_a_clock_that_moves_by_hand_for_the_embedded_database_and_for_a_server(
    suite: pytest.Pytester,
) -> None:
    passes(
        suite,
        """
        from rstmdb_client import SyncClient
        from rstmdb_server.pytest_plugin import Clock, RunningServer
        from rstmdb_storage import Database

        # MACHINE

        def story(db, clock: Clock) -> None:
            db.put_machine("m", 1, MACHINE)
            db.create_instance("m", 1, instance_id="i", idempotency_key="k")
            born = db.get_instance("i").created_at
            assert born == clock.now_ms == clock.now.timestamp() * 1000
            db.apply_event("i", "SET", {"n": 1}, idempotency_key="once")
            clock.advance(hours=23)
            assert db.get_instance("i").updated_at == born
            assert not db.apply_event("i", "SET", {"n": 1}, idempotency_key="once").applied
            clock.advance(hours=1, milliseconds=1)
            db.apply_event("i", "SET", {"n": 2})  # keys expire as entries are written
            assert db.get_instance("i").updated_at == born + 24 * 3600 * 1000 + 1
            assert db.apply_event("i", "SET", {"n": 1}, idempotency_key="once").applied

        def test_embedded(rstmdb_database: Database, rstmdb_clock: Clock) -> None:
            story(rstmdb_database, rstmdb_clock)

        def test_server(rstmdb_server: RunningServer, rstmdb_clock: Clock) -> None:
            with SyncClient.from_url(rstmdb_server.url) as db:
                story(db, rstmdb_clock)
                before = db.get_instance("i")
                rstmdb_server.restart()
                assert db.get_instance("i") == before
                rstmdb_clock.advance(days=1)
                db.apply_event("i", "SET")
                assert db.get_instance("i").updated_at == rstmdb_clock.now_ms
        """,
        2,
    )


def test_a_crash_loses_nothing_and_the_address_stays(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        from collections.abc import Callable

        from rstmdb_client import SyncClient
        from rstmdb_server.pytest_plugin import RunningServer

        # MACHINE

        def test_crash(rstmdb_server: RunningServer, rstmdb_crash: Callable[[], None]) -> None:
            url, pid = rstmdb_server.url, rstmdb_server.pid
            with SyncClient.from_url(url) as db, db.watch_all() as watch:
                db.put_machine("m", 1, MACHINE)
                db.create_instance("m", 1, instance_id="i")
                for number in range(3):
                    db.apply_event("i", "SET", {"n": number})
                    rstmdb_crash()
                assert db.get_instance("i").ctx == {"n": 2}
                assert [next(watch).payload for _ in range(3)] == [{"n": n} for n in range(3)]
            assert (rstmdb_server.url, rstmdb_server.pid != pid) == (url, True)
            assert "shutting" not in "".join(rstmdb_server.log_lines())

        def test_another_server(rstmdb_server: RunningServer) -> None:
            with SyncClient.from_url(rstmdb_server.url) as db:
                assert db.list_machines().items == []
        """,
        2,
    )


def test_a_shared_server_starts_once_and_is_empty_for_each_test(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        import pytest
        from rstmdb_client import SyncClient

        # MACHINE
        pids = set()

        @pytest.mark.parametrize("turn", [1, 2, 3])
        def test_it_is_empty(turn, rstmdb_url: str, _rstmdb_shared_server):
            pids.add(_rstmdb_shared_server.pid)
            with SyncClient.from_url(rstmdb_url) as db:
                assert db.list_machines().items == []
                db.put_machine("m", 1, MACHINE)
                db.create_instance("m", 1, instance_id="i")

        def test_it_is_one():
            assert len(pids) == 1
        """,
        4,
    )


def test_settings_are_overridden_as_any_fixture_is(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        import pytest
        from rstmdb_client import RateLimitedError, SyncClient, UnauthorizedError

        @pytest.fixture(scope="session")
        def rstmdb_settings():
            return {"RSTMDB_LIMIT_REQUESTS_PER_SECOND": "3"}

        class TestAuth:
            @pytest.fixture
            def rstmdb_settings(self):
                return {"RSTMDB_AUTH_REQUIRED": "true", "RSTMDB_AUTH_TOKEN_HASH": "0" * 64}

            def test_own(self, rstmdb_server):
                with SyncClient.from_url(rstmdb_server.url) as db:
                    with pytest.raises(UnauthorizedError):
                        db.list_machines()

        def test_shared(rstmdb_url):
            with SyncClient.from_url(rstmdb_url, retry_timeout=0) as db:
                with pytest.raises(RateLimitedError):
                    for _ in range(10):
                        db.ping()

        class TestRefused:
            @pytest.fixture
            def rstmdb_settings(self):
                return {"RSTMDB_ALLOW_FLUSH_ALL": "false"}

            def test_flush(self, rstmdb_server):
                with pytest.raises(RuntimeError, match="can't be emptied.*allow_flush_all"):
                    rstmdb_server.flush_all()
        """,
        3,
    )


def test_a_failure_shows_the_log_of_its_server(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        def test_fails(rstmdb_server):
            assert rstmdb_server.url == "no such thing"

        def test_fails_without():
            assert False
        """
    )
    result = suite.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(failed=2)
    output = result.stdout.str()
    assert output.count("rstmdb-server log") == 1
    assert '"message": "listening on 127.0.0.1:' in output


def test_a_suite_that_uses_none_of_it_pays_nothing(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_what_is_imported(request):
            names = {n for n in sys.modules if n.startswith(("rstmdb", "anyio", "msgspec"))}
            assert names <= {"rstmdb_server", "rstmdb_server.pytest_plugin"}, names
        """
    )
    run = suite.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:anyio", "-p", "no:randomly"
    )
    run.assert_outcomes(passed=1)
    listed = suite.runpytest_subprocess("--fixtures").stdout.str()
    for name in ("database", "server", "url", "clock", "crash", "settings"):
        assert f"rstmdb_{name}" in listed
    off = suite.runpytest("-p", "no:rstmdb", "--fixtures").stdout.str()
    assert "rstmdb_" not in off


def test_a_clock_is_seen_by_other_processes_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from rstmdb_server.pytest_plugin import Clock\n"
        "clock = Clock(Path(sys.argv[1]))\n"
        "for line in sys.stdin: print(clock(), flush=True)"
    )
    with Clock(tmp_path / "clock") as clock:
        start = clock()
        with subprocess.Popen(
            [sys.executable, "-c", script, str(clock.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            for minutes in (0, 1, 90, -100):
                clock.advance(minutes=minutes)
                other.stdin.write("\n")
                other.stdin.flush()
                assert int(other.stdout.readline()) == clock()
            other.stdin.close()
        assert clock() == start - 9 * 60_000


def test_the_url_of_a_server_with_tls_says_so(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, {"RSTMDB_TLS_ENABLED": "true"})
    assert server.url == "rstmdbs://127.0.0.1:0"
