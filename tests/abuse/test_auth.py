"""Tokens: guessed, timed, gone around."""

from __future__ import annotations

import statistics
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from rstmdb_server.auth import TokenSet, hash_token
from rstmdb_server.config import AuthConfig
from wire import Refused, frame

if TYPE_CHECKING:
    from abuse.conftest import Besiege, Siege

TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def guarded(besiege_for_all: Besiege) -> Siege:
    """A server that wants a token."""
    return besiege_for_all(
        token=TOKEN,
        RSTMDB_AUTH_REQUIRED="true",
        RSTMDB_AUTH_TOKEN_HASH=sha256(TOKEN.encode()).hexdigest(),
    )


def test_guessing_costs_a_connection_every_three_tokens(guarded: Siege) -> None:
    guesses = iter(range(10**9))

    def attack() -> None:
        for _ in range(20):
            with guarded.connect() as wire:
                for _ in range(3):
                    with pytest.raises(Refused) as refused:
                        wire.call("AUTH", token=f"guess-{next(guesses)}")
                    assert refused.value.code == "AUTH_FAILED"
                assert wire.closed_by_server()

    guarded.withstands("token guessing", attack)
    log = guarded.server.log_path.read_text()
    assert "guess-" not in log
    assert TOKEN not in log


def test_guesses_that_are_pipelined_buy_no_fourth(guarded: Siege) -> None:
    with guarded.connect() as wire:
        guess = frame(b'{"id":"1","op":"AUTH","params":{"token":"guess"}}')
        right = frame(b'{"id":"1","op":"AUTH","params":{"token":"%s"}}' % TOKEN.encode())
        wire.socket.sendall(guess * 3 + right)
        for _ in range(3):
            assert wire.receive()["error"]["code"] == "AUTH_FAILED"
        with pytest.raises((EOFError, ConnectionError)):
            wire.receive()


@pytest.mark.parametrize(
    "token",
    ["", " ", TOKEN.upper(), TOKEN[:-1], TOKEN + " ", TOKEN + "\0", "x" * 60_000,
     sha256(TOKEN.encode()).hexdigest(), None, 5, [TOKEN], {"token": TOKEN}],
)  # fmt: skip
def test_what_is_not_the_token_opens_nothing(guarded: Siege, token: object) -> None:
    with guarded.connect() as wire:
        assert wire.request("AUTH", token=token)["status"] == "error"
        assert wire.request("LIST_MACHINES")["error"]["code"] == "UNAUTHORIZED"


def test_before_auth_everything_is_refused_whatever_is_pipelined_in_front(
    guarded: Siege,
) -> None:
    def attack() -> None:
        with guarded.connect() as wire:
            for op in ("PUT_MACHINE", "APPLY_EVENT", "BATCH", "WATCH_ALL", "WAL_READ", "BACKUP",
                       "COMPACT", "FLUSH_ALL", "INFO"):  # fmt: skip
                ids = [wire.send("PING"), wire.send("HELLO", {"protocol_version": 1})]
                last = wire.send(
                    op,
                    {
                        "instance_id": "healthy",
                        "event": "T",
                        "from_offset": 0,
                        "machine": "m",
                        "version": 1,
                        "definition": {},
                        "ops": [],
                    },
                )
                for request_id in ids:
                    assert wire.response(request_id)["status"] == "ok"
                assert wire.response(last)["error"]["code"] == "UNAUTHORIZED", op

    guarded.withstands("operations before AUTH", attack)


def test_messages_over_64_kib_before_auth_are_refused_from_the_header(guarded: Siege) -> None:
    def attack() -> None:
        for lines in ("", "from_first_byte") * 10:
            with guarded.connect(lines=lines, hello=False) as wire:
                wire.send_payload(b'{"id":"1","op":"PING","x":"' + b"y" * 70_000 + b'"}')
                assert wire.receive()["error"]["code"] == "BAD_REQUEST"
                assert wire.closed_by_server()

    guarded.withstands("large messages before AUTH", attack, seconds=0)


def seconds_to_refuse(tokens: TokenSet, token: str) -> float:
    began = time.perf_counter()
    for _ in range(20):
        tokens.verify(token)
    return time.perf_counter() - began


def test_the_time_of_a_refusal_tells_nothing_about_the_hashes() -> None:
    """Tokens whose hash shares much with a known one, or with none, or that are known.

    What is hashed differs by nothing; what is compared differs in where the first difference
    lies, and in whether the first or the last of a hundred hashes is meant.
    """
    near = next(t for t in map(str, range(10**6)) if hash_token(t).startswith("abc"))
    far = next(t for t in map(str, range(10**6)) if hash_token(t).startswith("f"))
    known = [hash_token(f"known-{n}") for n in range(98)]
    first = "abc" + hash_token(near)[3:-1] + "0"  # all but its last digit
    tokens = TokenSet(AuthConfig(required=True, token_hashes=(first, *known, hash_token("last"))))
    samples: dict[str, list[float]] = {near: [], far: [], "known-0": [], "last": []}
    for _ in range(400):
        for token, seconds in samples.items():
            seconds.append(seconds_to_refuse(tokens, token))
    # The lower decile: the rest is the machine's.
    fast = {token: statistics.quantiles(s, n=10)[0] for token, s in samples.items()}
    assert max(fast.values()) / min(fast.values()) < 1.1, fast
