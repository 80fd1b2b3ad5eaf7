"""The parts of the REPL that need no terminal."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from rstmdb_cli.commands import SUBJECTS, load
from rstmdb_cli.commands.examples import EXAMPLES
from rstmdb_cli.lookup import Lookup
from rstmdb_cli.main import main
from rstmdb_cli.repl.checking import first_problem, is_open
from rstmdb_cli.repl.completer import LineCompleter
from rstmdb_cli.repl.grammar import COMMANDS, OWN, SHORT, expanded, outline
from rstmdb_cli.repl.guide import explain, overview
from rstmdb_cli.repl.history import PrivateHistory, is_secret
from rstmdb_cli.repl.words import quoted, split
from rstmdb_cli.session import Session
from rstmdb_server.testing import ServerProcess
from wire import Wire


def texts(line: str) -> list[str]:
    return [word.text for word in split(line)]


# -- words -----------------------------------------------------------------------------------------


def test_json_needs_no_quotes() -> None:
    line = 'apply o-1 PAY {"a": "x} y", "b": [1, {"c": "\\""}]} rest'
    assert texts(line) == [
        "apply",
        "o-1",
        "PAY",
        '{"a": "x} y", "b": [1, {"c": "\\""}]}',
        "rest",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  a   b ", ["a", "b"]),
        ("'a b' c", ["a b", "c"]),
        ('"a \\" b" c', ['a " b', "c"]),
        ("a\\ b", ["a b"]),
        ("''", [""]),
        ("x='{'", ["x={"]),
        ("a\nb", ["a", "b"]),
    ],
)
def test_quotes_are_those_of_a_shell(line: str, words: list[str]) -> None:
    assert texts(line) == words == shlex.split(line)


@given(st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), max_size=5))
def test_what_is_quoted_is_read_as_it_was(parts: list[str]) -> None:
    assert texts(" ".join(quoted(part) for part in parts)) == parts


@given(st.text())
def test_any_line_is_split_without_an_error_and_words_lie_in_it(line: str) -> None:
    words = split(line)
    places = [place for word in words for place in (word.start, word.end)]
    assert places == sorted(places)
    assert all(0 <= place <= len(line) for place in places)
    first_problem(line)
    is_open(line)


# -- short commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "full"),
    [
        ("create order 1", "create-instance -m order -V 1"),
        ("create order 1 o-1 {}", "create-instance -m order -V 1 -i o-1 -c {}"),
        ("create -i o-1 order 1", "create-instance -i o-1 -m order -V 1"),
        ("create --id o-1 order 1 {}", "create-instance --id o-1 -m order -V 1 -c {}"),
        ("get o-1", "get-instance o-1"),
        ("apply o-1 PAY", "apply-event -i o-1 -e PAY"),
        ("apply o-1 PAY --event-id a {}", "apply-event -i o-1 -e PAY --event-id a -p {}"),
        ("delete o-1", "delete-instance o-1"),
        ("wal", "wal-read"),
        ("wal 5 10", "wal-read -f 5 -l 10"),
        ("put order 1 {}", "put-machine -n order -v 1 {}"),
        ("machine order 2 --diagram", "get-machine order 2 --diagram"),
        ("list order", "list-instances --machine order"),
        ("watch", "watch-all"),
        ("wal-stats", "wal-stats"),
        ("get-instance o-1", "get-instance o-1"),
    ],
)  # fmt: skip
def test_a_short_command_stands_for_a_long_one(line: str, full: str) -> None:
    assert expanded(texts(line)) == full.split()


def test_short_commands_name_options_that_there_are() -> None:
    for name, short in SHORT.items():
        known = {opt for option in load(short.command).params for opt in option.opts}
        assert {option for option in short.options if option} <= known, name
        assert name not in COMMANDS
    assert not set(OWN) & (set(SHORT) | set(COMMANDS))


def test_every_command_is_outlined_and_explained() -> None:
    shown = overview()
    for name in (*COMMANDS, *SHORT, *OWN):
        usage, text = outline(name)
        assert usage.startswith(name)
        assert text
        assert (name if name in COMMANDS else usage) in shown
        assert name in explain(name)
    assert set(SUBJECTS) - set(COMMANDS) == {"repl", "completion"}


# -- JSON while one types --------------------------------------------------------------------------


DEFINITION = '{"states": ["a"], "initial": "a", "transitions": [{"from": "a", "to": "a"}]}'


@pytest.mark.parametrize("head", ["apply o-1 PAY ", "create order 1 o-1 ", "put order 1 "])
@pytest.mark.parametrize("text", [DEFINITION, '{"a": "\\u00e4 \\" {", "b": [-1.5e3, true, null]}'])
def test_no_beginning_of_good_json_is_called_wrong(head: str, text: str) -> None:
    for end in range(len(text) + 1):
        line = head + text[:end]
        assert first_problem(line) is None, line
        assert is_open(line) == (0 < end < len(text))


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ('apply o-1 PAY {"a" 1', 19),
        ("apply o-1 PAY {a", 15),
        ('apply o-1 PAY {"a": 1} x', None),
        ('apply o-1 PAY {"a": 1}x', 22),
        ("apply o-1 PAY '{\"a\": 1,}'", 23),
        ('apply o-1 PAY {"a": nope', 20),
        ('apply o-1 PAY {"a": "\\q"', 21),
        ('apply o-1 PAY {"a": NaN}', 14),
        ("apply o-1 PAY plain", 15),
        ("apply-event -p plain -i o-1", 16),
        ("put order 1 plain", 13),
        ("put order 1 @file", None),
        ("apply o-1 PAY -", None),
        ("get o-1", None),
        ("nonsense plain", None),
    ],
)
def test_what_is_wrong_is_found_where_it_is(line: str, at: int | None) -> None:
    problem = first_problem(line)
    assert (problem and problem.at) == at


def test_an_open_quote_goes_on_in_the_next_line() -> None:
    assert is_open("get 'a")
    assert not is_open("get a")
    assert not is_open("")


# -- history ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "hash-token abc",
        "rstmdb-cli hash-token abc",
        "rstmdb-cli -t abc ping",
        "-tabc ping",
        "rstmdb-cli --token abc ping",
        "--token=abc ping",
        "--url rstmdb://abc@host ping",
        "hash-token 'abc",
    ],
)
def test_lines_with_tokens_are_not_kept(line: str, tmp_path: Path) -> None:
    assert is_secret(line)
    path = tmp_path / "history"
    history = PrivateHistory(path)
    history.append_string("get o-1")
    history.append_string(line)
    assert history.get_strings() == ["get o-1"]
    assert "abc" not in path.read_text()
    assert "get o-1" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_other_lines_are_no_secrets() -> None:
    for line in ("get token", "apply o-1 HASH", "list --state to", 'create m 1 {"token": "x"}'):
        assert not is_secret(line)


def test_a_history_that_can_not_be_kept_is_done_without(tmp_path: Path) -> None:
    history = PrivateHistory(tmp_path / "none" / "history")
    history.append_string("get o-1")
    assert history.get_strings() == ["get o-1"]


# -- completion ------------------------------------------------------------------------------------


@pytest.fixture
def completer(server: ServerProcess, wire: Wire) -> Iterator[LineCompleter]:
    with main.make_context("rstmdb-cli", ["-s", server.address, "ping"]) as context:
        session = Session.of(context)
    lookup = Lookup.of(session)
    yield LineCompleter(session._replace(lookup=lookup))
    lookup.close()


def completed(completer: LineCompleter, line: str) -> list[str]:
    """The whole lines that completion would make of a line."""
    found = completer.get_completions(Document(line), CompleteEvent())
    return [line[: len(line) + item.start_position] + item.text for item in found]


def test_commands_complete(completer: LineCompleter) -> None:
    assert completed(completer, "wal") == ["wal", "wal-read", "wal-stats"]
    assert completed(completer, "help hash") == ["help hash-token"]
    assert completed(completer, "output j") == ["output json"]
    assert completed(completer, "quit ") == []
    assert completed(completer, "nope ") == []


def test_names_that_the_server_knows_complete(completer: LineCompleter, wire: Wire) -> None:
    wire.call("CREATE_INSTANCE", instance_id="with blank", machine="order", version=1)
    assert completed(completer, "create ") == ["create order"]
    assert completed(completer, "create order ") == ["create order 1"]
    assert completed(completer, "get o") == ["get o-1"]
    assert completed(completer, "get w") == ["get 'with blank'"]
    assert completed(completer, "get 'with b") == ["get 'with blank'"]
    assert completed(completer, "list-instances --state ") == [
        f"list-instances --state {state}" for state in ("created", "paid", "shipped")
    ]
    assert completed(completer, "watch-all --events PAY,") == ["watch-all --events PAY,SHIP"]


def test_only_events_that_are_allowed_now_complete(completer: LineCompleter, wire: Wire) -> None:
    assert completed(completer, "apply o-1 ") == ["apply o-1 PAY"]
    assert completed(completer, "apply-event -i o-1 -e ") == ["apply-event -i o-1 -e PAY"]
    item = next(iter(completer.get_completions(Document("apply o-1 "), CompleteEvent())))
    assert item.display_meta_text == "created → paid if ctx.amount > 0"
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    assert completer._session.lookup is not None
    completer._session.lookup.forget()
    assert completed(completer, "apply o-1 ") == ["apply o-1 SHIP"]


def test_options_and_files_complete(
    completer: LineCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed(completer, "apply o-1 PAY --expected-o") == ["apply o-1 PAY --expected-offset"]
    (tmp_path / "order.json").touch()
    monkeypatch.chdir(tmp_path)
    assert completed(completer, "put order 1 @ord") == ["put order 1 @order.json"]
    assert completed(completer, "apply o-1 PAY {") == []


# -- what completion asks --------------------------------------------------------------------------


def test_answers_are_kept_for_a_moment() -> None:
    now = [0.0]
    asked: list[str] = []

    def ask(op: str, _: dict[str, Any]) -> dict[str, Any]:
        asked.append(op)
        return {"items": [{"machine": "m", "versions": [1, 2]}]}

    lookup = Lookup(ask, clock=lambda: now[0], keep_secs=2.0)
    assert lookup.machines() == lookup.machines() == {"m": [1, 2]}
    assert len(asked) == 1
    now[0] = 2.0
    lookup.machines()
    assert len(asked) == 2
    lookup.forget()
    lookup.machines()
    assert len(asked) == 3


def test_forgetting_waits_for_no_answer() -> None:
    asked, answer = threading.Event(), threading.Event()

    def ask(_: str, __: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        assert answer.wait(30)
        return {"items": [{"machine": "old", "versions": [1]}]}

    lookup = Lookup(ask, clock=lambda: 0.0)
    thread = threading.Thread(target=lookup.machines)
    thread.start()
    assert asked.wait(30)
    lookup.forget()
    asked.clear()
    answer.set()
    thread.join()
    lookup.machines()
    assert asked.is_set()  # what came in between is not kept


def test_a_server_that_fails_is_not_asked_at_every_key() -> None:
    asked: list[str] = []

    def ask(op: str, _: dict[str, Any]) -> dict[str, Any]:
        asked.append(op)
        raise OSError("gone")

    lookup = Lookup(ask, clock=lambda: 0.0)
    assert lookup.machines() == {}
    assert lookup.instances() == {}
    assert lookup.allowed("x") == {}
    assert lookup.machines() == {}
    assert asked == ["LIST_MACHINES", "LIST_INSTANCES", "GET_INSTANCE"]


def test_of_very_many_instances_the_oldest_and_the_newest_are_offered() -> None:
    def ask(_: str, params: dict[str, Any]) -> dict[str, Any]:
        begin = params.get("offset", 0)
        ids = range(begin, min(5000, begin + params["limit"]))
        items = [{"id": str(n), "machine": "m", "state": "s"} for n in ids]
        return {"instances": items, "total": 5000, "has_more": begin + 1000 < 5000}

    found = Lookup(ask).instances()
    assert list(found) == [str(n) for n in (*range(1000), *range(4000, 5000))]


# -- examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_commands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("order.json", "orders.jsonl", "data", "backups/monday"):
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.touch() if "." in path else target.mkdir()
    (tmp_path / "order.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    for line in EXAMPLES[name]:
        if line.startswith(" "):
            lines[-1] += line
        else:
            lines.append(line)
    for line in lines:
        words = shlex.split(line)
        words = list(takewhile(lambda word: word[0] not in "|>", words))
        place = words.index(name) + 1
        with main.make_context("rstmdb-cli", words[:place]) as context:
            load(name).make_context(name, words[place:], parent=context).close()
