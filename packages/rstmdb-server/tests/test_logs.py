import io
import json
import logging
from collections.abc import Iterator

import pytest

from rstmdb_server.config import LoggingConfig
from rstmdb_server.logs import JsonFormatter, PrettyFormatter, configure, set_level

FORGED = "x\n2026-01-01T00:00:00.000Z INFO  root: forged\r\x1b[2J\x7f\x9b1m\u2028\u202e\ud800\0"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("rstmdb")
    levels, handlers = (root.level, own.level), root.handlers[:]
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def record(message: str = "hello", level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("rstmdb.test", level, __file__, 1, "%s", (message,), None)
    made.created = 1_700_000_000.0625
    vars(made).update(extra)
    return made


def failure() -> logging.LogRecord:
    made = record("failed", logging.ERROR)
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    return made


def test_a_json_line_holds_time_level_logger_message_and_extra_fields() -> None:
    line = JsonFormatter().format(record(peer="[::1]:5", wait=object, time="kept out"))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.062Z",
        "level": "info",
        "logger": "rstmdb.test",
        "message": "hello",
        "peer": "[::1]:5",
        "wait": "<class 'object'>",
    }


@pytest.mark.parametrize(
    ("number", "name"),
    [(5, "trace"), (10, "debug"), (20, "info"), (30, "warn"), (40, "error"), (50, "critical")],
)
def test_levels_have_the_names_of_the_configuration(number: int, name: str) -> None:
    assert json.loads(JsonFormatter().format(record(level=number)))["level"] == name


def test_what_a_client_sends_cannot_break_a_json_line_or_command_a_terminal() -> None:
    line = JsonFormatter().format(record(FORGED, peer=FORGED))
    assert line.isprintable()
    fields = json.loads(line)
    assert fields["message"] == FORGED
    assert fields["peer"] == FORGED


def test_words_in_any_script_stay_readable() -> None:
    assert "Zahlung für 注文" in JsonFormatter().format(record("Zahlung für 注文"))
    assert "Zahlung für 注文" in PrettyFormatter().format(record("Zahlung für 注文"))


def test_a_json_line_carries_the_traceback() -> None:
    line = JsonFormatter().format(failure())
    assert "\n" not in line
    assert json.loads(line)["exception"].startswith("Traceback (most recent call last):")


def test_a_pretty_line_shows_the_same_and_escapes_it() -> None:
    line = PrettyFormatter().format(record(FORGED, peer=FORGED))
    assert line.startswith("2023-11-14T22:13:20.062Z INFO  rstmdb.test: x\\u000a2026-")
    assert " peer=x\\u000a" in line
    assert line.isprintable()


def test_a_traceback_follows_a_pretty_line_indented_so_that_none_can_be_forged() -> None:
    first, *rest = PrettyFormatter().format(failure()).split("\n")
    assert first.endswith("ERROR rstmdb.test: failed")
    assert len(rest) > 3
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


@pytest.mark.parametrize(
    ("form", "stream", "pretty"),
    [
        ("auto", io.StringIO, False),
        ("auto", Terminal, True),
        ("json", Terminal, False),
        ("pretty", io.StringIO, True),
    ],
)
def test_the_format_follows_the_setting_and_auto_the_terminal(
    form: str, stream: type[io.StringIO], pretty: bool
) -> None:
    written = stream()
    configure(LoggingConfig(format=form), written)  # type: ignore[arg-type]
    logging.getLogger("rstmdb.test").info("hello")
    assert written.getvalue().startswith("{") is not pretty


def test_configuring_again_replaces_and_leaves_foreign_handlers() -> None:
    foreign = logging.NullHandler()
    logging.getLogger().addHandler(foreign)
    first, second = io.StringIO(), io.StringIO()
    configure(LoggingConfig(), first)
    configure(LoggingConfig(), second)
    logging.getLogger("rstmdb").warning("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1
    assert foreign in logging.getLogger().handlers


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", "trace debug info warn error critical library"),
        ("debug", "debug info warn error critical library"),
        ("info", "info warn error critical library"),
        ("warn", "warn error critical library"),
        ("error", "error critical"),
        ("off", ""),
    ],
)
def test_a_level_lets_through_what_is_as_bad_or_worse(level: str, expected: str) -> None:
    written = io.StringIO()
    configure(LoggingConfig(level="off", format="json"), written)
    set_level(LoggingConfig(level=level))  # type: ignore[arg-type]
    for number in (5, 10, 20, 30, 40, 50):
        logging.getLogger("rstmdb.test").log(number, "own")
    logging.getLogger("somelib").info("chatter")
    logging.getLogger("somelib").warning("library")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    seen = [one["level"] if one["message"] == "own" else one["message"] for one in lines]
    assert " ".join(seen) == expected
