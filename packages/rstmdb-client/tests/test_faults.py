"""What every kind of client makes of broken connections, late answers and refusals."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

import rstmdb_client as client
import rstmdb_protocol as rcp

APPLIED = rcp.ApplyEventResult("a", "b", {}, 7, True)
PONG = rcp.PingResult(True)


def serve(session: Any) -> None:
    """Answer everything as if it were well."""
    while True:
        request = session.receive()
        session.answer(request, PONG if request.op == "PING" else APPLIED)


def hang_up_after(count: int) -> Callable[[Any], None]:
    """Read some requests and go without an answer."""

    def script(session: Any) -> None:
        for _ in range(count):
            session.receive()

    return script


def test_a_read_is_sent_again_on_a_new_connection(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    one = peer(hang_up_after(1), hang_up_after(1), serve)
    assert open_db(one.url).ping() == PONG
    assert one.connections == 3


def test_what_is_tried_again_is_logged(
    open_db: Callable[..., Any], peer: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rstmdb.client")
    open_db(peer(hang_up_after(1), serve).url).ping()
    (record,) = (one for one in caplog.records if one.name == "rstmdb.client")
    assert record.getMessage().startswith("PING: the server closed the connection; trying again in")


def test_a_write_is_sent_again_with_the_key_that_it_had(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    keys: list[str | None] = []

    def note(session: Any) -> rcp.Request:
        request: rcp.Request = session.receive()
        keys.append(request.params.idempotency_key)
        return request

    one = peer(note, lambda session: session.answer(note(session), APPLIED))
    assert open_db(one.url).apply_event("i", "GO") == APPLIED
    assert keys[0] is not None
    assert keys == [keys[0]] * 2


def test_a_write_without_a_key_is_not_sent_again(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    one = peer(hang_up_after(1), serve)
    db = open_db(one.url, idempotency="off")
    with pytest.raises(client.OutcomeUnknown, match=r"APPLY_EVENT.*may have been done"):
        db.apply_event("i", "GO")
    assert db.ping() == PONG
    assert one.connections == 2


def test_a_write_with_a_key_of_the_callers_is_sent_again(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    one = peer(hang_up_after(1), serve)
    db = open_db(one.url, idempotency="off")
    assert db.apply_event("i", "GO", idempotency_key="mine") == APPLIED


@pytest.mark.parametrize("op", ["BACKUP", "FLUSH_ALL"])
def test_what_a_repeat_would_do_twice_is_not_repeated(
    open_db: Callable[..., Any], peer: Callable[..., Any], op: str
) -> None:
    one = peer(hang_up_after(1), serve)
    with pytest.raises(client.OutcomeUnknown):
        open_db(one.url).call(op)


def test_a_call_gives_up_when_every_connection_breaks_under_it(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    one = peer(hang_up_after(1))
    with pytest.raises(client.ConnectionLost, match="closed the connection"):
        open_db(one.url).ping()
    assert one.connections == 5


def test_retry_timeout_0_means_not_again(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    one = peer(hang_up_after(1))
    with pytest.raises(client.ConnectionLost):
        open_db(one.url, retry_timeout=0).ping()
    assert one.connections == 1


def test_a_late_answer_is_dropped_and_shifts_no_other(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    def late(session: Any) -> None:
        first = session.receive()
        second = session.receive()
        session.answer(first, {"pong": False})
        session.answer(second, PONG)
        session.receive()

    db = open_db(peer(late).url, request_timeout=0.5)
    with pytest.raises(client.RequestTimeout, match="not known") as caught:
        db.ping()
    assert isinstance(caught.value, TimeoutError)
    assert db.ping() == PONG


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (rcp.ErrorCode.RATE_LIMITED, True),
        (rcp.ErrorCode.WAL_IO_ERROR, True),
        (rcp.ErrorCode.INTERNAL_ERROR, True),
        (rcp.ErrorCode.CONFLICT, False),
        (rcp.ErrorCode.UNAUTHORIZED, False),
    ],
)
def test_what_may_go_away_is_asked_again_a_few_times(
    open_db: Callable[..., Any], peer: Callable[..., Any], code: rcp.ErrorCode, again: bool
) -> None:
    asked: list[str] = []

    def refuse(session: Any) -> None:
        while True:
            request = session.receive()
            asked.append(request.op)
            session.refuse(request, code)

    with pytest.raises(client.ERROR_CLASSES[code]) as caught:
        open_db(peer(refuse).url).apply_event("i", "GO")
    assert (caught.value.code, caught.value.retryable) == (code, again)
    assert (str(caught.value), caught.value.details) == ("refused", {"why": "because"})
    assert len(asked) == (5 if again else 1)


def test_a_refusal_that_goes_away_is_not_noticed(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    def refuse_twice(session: Any) -> None:
        for _ in range(2):
            session.refuse(session.receive(), rcp.ErrorCode.RATE_LIMITED)
        serve(session)

    one = peer(refuse_twice)
    assert open_db(one.url).apply_event("i", "GO") == APPLIED
    assert one.connections == 1


def test_a_connection_that_breaks_within_an_answer_is_opened_again(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    def break_off(session: Any) -> None:
        request = session.receive()
        session.stream.sendall(session._connection.pack(rcp.encode_ok(request.id, PONG))[:-3])

    one = peer(break_off, serve)
    assert open_db(one.url).ping() == PONG
    assert one.connections == 2


def test_a_connection_that_breaks_right_behind_an_answer_costs_nothing(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    asked: list[str] = []

    def answer_one(session: Any) -> None:
        request = session.receive()
        asked.append(request.op)
        session.answer(request, PONG)

    db = open_db(peer(answer_one).url)
    for _ in range(4):
        assert db.ping() == PONG
    assert asked == ["PING"] * 4


def test_garbage_breaks_the_connection_and_is_told(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    def garble(session: Any) -> None:
        session.receive()
        session.stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        session.receive()

    with pytest.raises(client.ConnectionLost, match="broke the protocol: bad magic"):
        open_db(peer(garble).url, retry_timeout=0).ping()


def test_the_last_word_of_a_server_is_handed_on(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    def give_up(session: Any) -> None:
        session.receive()
        session.send(rcp.encode_error(None, rcp.ErrorCode.BAD_REQUEST, "a bad frame"))

    with pytest.raises(client.ConnectionLost, match=r"gave up.*BAD_REQUEST: a bad frame"):
        open_db(peer(give_up).url, retry_timeout=0).ping()


def test_an_answer_without_a_promised_field_is_no_result(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    def forget(session: Any) -> None:
        while True:
            session.answer(session.receive(), {})

    db = open_db(peer(forget).url)
    with pytest.raises(client.UnexpectedAnswer, match=r"PING.*pong"):
        db.ping()
    with pytest.raises(client.UnexpectedAnswer, match="BATCH"):
        db.call_batch([{"op": "LIST_MACHINES"}])


def test_hosts_are_tried_in_turn(open_db: Callable[..., Any], peer: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = nobody.getsockname()[1]
    mute = peer(lambda session: session.receive(hello=False))
    good = peer(serve)
    url = f"rstmdb://127.0.0.1:{dead},127.0.0.1:{mute.port},127.0.0.1:{good.port}"
    assert open_db(url).ping() == PONG


def test_each_host_that_failed_is_named(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = nobody.getsockname()[1]
    silent = peer(lambda session: (session.receive(hello=False), session.receive(hello=False)))
    url = f"rstmdb://127.0.0.1:{dead},127.0.0.1:{silent.port}"
    begin = time.monotonic()
    with pytest.raises(client.ConnectFailed) as caught:
        open_db(url, connect_timeout=0.2)
    assert f"127.0.0.1:{dead}: " in str(caught.value)
    assert f"127.0.0.1:{silent.port}: connected, but no answer within 0.2 s" in str(caught.value)
    assert time.monotonic() - begin < 5


def test_the_token_is_sent_on_every_connection_and_shown_in_no_error(
    open_db: Callable[..., Any], peer: Callable[..., Any]
) -> None:
    tokens: list[str] = []

    def admit(session: Any) -> None:
        request = session.receive()
        tokens.append(request.params.token)
        session.answer(request, rcp.AuthResult(True))

    def refuse(session: Any) -> None:
        session.refuse(session.receive(), rcp.ErrorCode.AUTH_FAILED)

    def admit_and_serve(session: Any) -> None:
        admit(session)
        serve(session)

    one = peer(admit, admit_and_serve, refuse)
    url = f"rstmdb://s%40fe@127.0.0.1:{one.port}"
    db = open_db(url)
    assert db.ping() == PONG
    assert tokens == ["s@fe", "s@fe"]
    db.close()
    with pytest.raises(client.AuthFailedError) as caught:
        db.ping()
    assert "fe" not in str(caught.value).replace("refused", "")
