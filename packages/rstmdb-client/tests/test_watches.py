"""Watches: in order, exactly once, over restarts; both kinds, on a real server and a peer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import rstmdb_client as client
import rstmdb_protocol as rcp
from rstmdb_client import Client, SyncClient
from rstmdb_server.testing import ServerProcess

NOTES = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "NOTE", "to": "on"}],
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that the test may stop, with the instance `n` of the machine `notes`."""
    with ServerProcess(tmp_path, {"RSTMDB_COMPACT_ENABLED": "false"}) as process:
        with SyncClient.from_url(f"rstmdb://{process.address}") as db:
            db.put_machine("notes", 1, NOTES)
            db.create_instance("notes", 1, instance_id="n")
        yield process


def note(url: str, numbers: range) -> None:
    """Apply one event a number, some of them in atomic batches."""
    with SyncClient.from_url(url) as db:
        for number in numbers:
            if number % 10 == 0:
                with db.batch(atomic=True) as batch:
                    batch.apply_event("n", "NOTE", {"number": number})
                    batch.apply_event("n", "NOTE", {"number": number + 0.5})
            else:
                db.apply_event("n", "NOTE", {"number": number})


def expected(numbers: range) -> list[float]:
    return [n for number in numbers for n in ((number, number + 0.5) if number % 10 == 0
                                              else (number,))]  # fmt: skip


def restart_while_writing(own: ServerProcess, url: str) -> threading.Thread:
    def write() -> None:
        note(url, range(100))
        own.kill()
        own.start()
        note(url, range(100, 200))
        own.stop()
        own.start()
        note(url, range(200, 300))

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_watch_goes_on_over_a_kill_and_a_stop(own: ServerProcess) -> None:
    url = f"rstmdb://{own.address}"
    with SyncClient.from_url(url) as db, db.watch_all(machines=["notes"]) as watch:
        thread = restart_while_writing(own, url)
        wanted = expected(range(300))
        seen = [next(watch).payload["number"] for _ in wanted]
        thread.join()
    assert seen == wanted


@pytest.mark.anyio
async def test_an_async_watch_goes_on_over_a_kill_and_a_stop(own: ServerProcess) -> None:
    url = f"rstmdb://{own.address}"
    wanted = expected(range(300))
    seen: list[float] = []
    async with Client.from_url(url) as db, db.watch_instance("n") as watch:
        assert watch.current_state == "on"
        assert watch.subscription_id
        thread = restart_while_writing(own, url)
        while len(seen) < len(wanted):
            # Waiting is cancelled again and again: no event may get lost by it.
            with anyio.move_on_after(0.01):
                seen.append((await anext(watch)).payload["number"])
        await anyio.to_thread.run_sync(thread.join)
    assert seen == wanted


def test_filters_offsets_and_contexts(url: str) -> None:
    with SyncClient.from_url(url) as db:
        db.create_instance("order", 1, instance_id="o-2", initial_ctx={"amount": 1})
        paid = db.apply_event("o-1", "PAY")
        db.apply_event("o-2", "PAY")
        db.apply_event("o-1", "SHIP")
        with db.watch_all(from_offset=paid.wal_offset, events=["PAY"], to_states=["paid"]) as watch:
            first, second = next(watch), next(watch)
        assert (first.instance_id, second.instance_id) == ("o-1", "o-2")
        assert first.wal_offset == paid.wal_offset
        assert first.ctx == {"amount": 10}
        with db.watch_instance("o-1", include_ctx=False, from_offset=1) as watch:
            events = [next(watch), next(watch)]
            assert watch.next_offset == events[-1].wal_offset + 1
            assert watch.current_state == "shipped"
        assert [event.event for event in events] == ["PAY", "SHIP"]
        assert not events[0].ctx


def test_a_watch_of_an_instance_ends_with_it(url: str) -> None:
    with SyncClient.from_url(url) as db, db.watch_instance("o-1") as watch:
        db.delete_instance("o-1")
        with pytest.raises(client.WatchEnded) as caught:
            next(watch)
        assert caught.value.reason == "instance_deleted"
        assert list(watch) == []


@pytest.mark.anyio
async def test_an_async_watch_of_an_instance_ends_with_it(url: str) -> None:
    async with Client.from_url(url) as db, db.watch_instance("o-1") as watch:
        await db.delete_instance("o-1")
        with pytest.raises(client.WatchEnded, match="instance_deleted"):
            await anext(watch)
        assert [event async for event in watch] == []


@pytest.mark.anyio
async def test_a_watch_of_nothing_raises_as_the_server_does(url: str) -> None:
    async with Client.from_url(url) as db:
        with pytest.raises(client.InstanceNotFoundError):
            await anext(db.watch_instance("none"))
    with pytest.raises(client.InstanceNotFoundError):
        next(SyncClient.from_url(url).watch_instance("none"))
    with pytest.raises(client.ConnectFailed):
        next(SyncClient.from_url("rstmdb://127.0.0.1:1").watch_all())


def test_a_position_that_was_compacted_away_ends_a_watch_and_names_another(
    tmp_path: Path,
) -> None:
    env = {"RSTMDB_COMPACT_ENABLED": "false", "RSTMDB_WAL_SEGMENT_SIZE_MB": "1"}
    pad = random.Random(1).randbytes(450_000).hex()  # which compresses to a half at most
    with ServerProcess(tmp_path, env) as server:
        url = f"rstmdb://{server.address}"
        with SyncClient.from_url(url) as db:
            db.put_machine("notes", 1, NOTES)
            db.create_instance("notes", 1, instance_id="n")
            first = db.apply_event("n", "NOTE", {"pad": pad}).wal_offset
            for _ in range(5):
                db.apply_event("n", "NOTE")
            assert db.compact(force_snapshot=True).segments_deleted > 0
            with pytest.raises(client.WatchEnded) as caught:
                next(db.watch_all(from_offset=first))
            assert caught.value.reason == "compacted"
            assert caught.value.resume_from is not None
            with db.watch_all(from_offset=caught.value.resume_from) as watch:
                last = db.apply_event("n", "NOTE").wal_offset
                while next(watch).wal_offset < last:
                    pass


def test_a_watch_of_an_instance_that_rests_outlives_the_compaction_of_its_place(
    tmp_path: Path,
) -> None:
    env = {"RSTMDB_COMPACT_ENABLED": "false", "RSTMDB_WAL_SEGMENT_SIZE_MB": "1"}
    pad = random.Random(1).randbytes(450_000).hex()  # which compresses to a half at most

    def compact(db: SyncClient) -> int:
        for number in range(6):
            db.apply_event("busy", "NOTE", {"pad": f"{number}{pad}"})
        assert db.compact(force_snapshot=True).segments_deleted > 0
        return db.wal_read(0, 1).records[0].offset

    with ServerProcess(tmp_path, env) as server:
        url = f"rstmdb://{server.address}"
        with SyncClient.from_url(url) as db:
            db.put_machine("notes", 1, NOTES)
            for name in ("rests", "busy"):
                db.create_instance("notes", 1, instance_id=name)
            with db.watch_instance("rests") as watch:
                place = watch.next_offset
                assert place is not None
                assert place < compact(db)
                begun = watch.begun
                server.kill()
                server.start()
                while watch.begun is begun:  # until it has begun again
                    with pytest.raises(TimeoutError):
                        watch.receive(0.1)
                noted = db.apply_event("rests", "NOTE").wal_offset
                assert watch.receive(20).wal_offset == noted
            earliest = compact(db)
            assert noted < earliest
            with pytest.raises(client.WatchEnded, match="compacted") as caught:
                next(db.watch_instance("rests", from_offset=place))  # it has missed the note
            assert caught.value.resume_from is not None
            assert noted < caught.value.resume_from <= earliest
            with db.watch_instance("rests", from_offset=noted + 1) as watch:
                noted = db.apply_event("rests", "NOTE").wal_offset
                assert watch.receive(20).wal_offset == noted


def test_closing_from_another_thread_ends_the_wait(url: str) -> None:
    with SyncClient.from_url(url).watch_all() as watch:
        timer = threading.Timer(0.1, watch.close)
        timer.start()
        assert list(watch) == []
        timer.join()


@pytest.mark.anyio
async def test_closing_from_another_task_or_with_the_client_ends_the_wait(url: str) -> None:
    ended: list[client.AsyncWatch] = []

    async def wait(watch: client.AsyncWatch) -> None:
        assert [event async for event in watch] == []
        ended.append(watch)

    async with anyio.create_task_group() as tasks, Client.from_url(url) as db:
        first = await db.watch_all().__aenter__()
        second = await db.watch_instance("o-1").__aenter__()
        tasks.start_soon(wait, first)
        tasks.start_soon(wait, second)
        await anyio.wait_all_tasks_blocked()
        await first.aclose()
        await anyio.wait_all_tasks_blocked()
        assert ended == [first]
    assert ended == [first, second]


def test_a_slow_reader_holds_up_no_calls_and_loses_nothing(url: str) -> None:
    count = 3000
    with SyncClient.from_url(url) as db, db.watch_instance("o-1") as watch:
        db.apply_event("o-1", "PAY", {"pad": "x" * 2000})
        for _ in range(count // 100):
            with db.batch() as batch:
                for _ in range(100):
                    batch.apply_event("o-1", "NOTE")
        begin = time.monotonic()
        assert db.ping().pong
        assert time.monotonic() - begin < 1
        events = [next(watch) for _ in range(count + 1)]
    offsets = [event.wal_offset for event in events]
    assert len(events) == count + 1
    assert offsets == sorted(set(offsets))


def begin(session: Any) -> rcp.Request:
    request: rcp.Request = session.receive()
    session.answer(request, rcp.WatchAllResult("s", 10))
    return request


def event(offset: int) -> bytes:
    return rcp.encode_json(rcp.EventMessage("s", "i", "m", 1, offset, "a", "b", "GO"))


def test_a_watch_resumes_behind_what_it_has_handed_out(
    peer: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rstmdb.client")
    asked: list[int | None] = []

    def first(session: Any) -> None:
        asked.append(begin(session).params.from_offset)

    def second(session: Any) -> None:
        first(session)
        session.send(event(12))
        session.send(event(15)[:-9])

    def refuse(session: Any) -> None:
        session.refuse(session.receive(), rcp.ErrorCode.RATE_LIMITED)

    def stopping(session: Any) -> None:
        first(session)
        session.send(event(15))
        session.send(rcp.encode_json(rcp.EndMessage("s", "server_stopping", 11)))

    def compacted(session: Any) -> None:
        request = session.receive()
        asked.append(request.params.from_offset)
        session.send(
            rcp.encode_error(request.id, rcp.ErrorCode.NOT_FOUND, "gone", {"earliest_offset": 40})
        )

    one = peer(first, second, refuse, stopping, compacted)
    with SyncClient.from_url(one.url).watch_all() as watch:
        assert [next(watch).wal_offset, next(watch).wal_offset] == [12, 15]
        with pytest.raises(client.WatchEnded) as caught:
            next(watch)
    assert (caught.value.reason, caught.value.resume_from) == ("compacted", 40)
    assert asked == [None, 11, 13, 16]
    told = [record.getMessage() for record in caplog.records if record.name == "rstmdb.client"]
    reasons = ["the server closed", "the server broke the protocol", "refused", "the server stops"]
    for line, reason in zip(told, reasons, strict=True):
        assert line.startswith(f"WATCH_ALL: {reason}")
        assert "; trying again in 0." in line
