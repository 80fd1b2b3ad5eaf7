"""The log: one line an event, JSON or for people, with what clients sent made harmless."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from .config import LoggingConfig

__all__ = ["JsonFormatter", "PrettyFormatter", "configure", "set_level"]

TRACE = 5

_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}
_NAMES = {number: name for name, number in _LEVELS.items() if name != "off"} | {
    logging.CRITICAL: "critical"
}

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_INVISIBLE = "\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
"""What JSON leaves alone and a terminal obeys: control characters, separators, direction marks."""
_FOR_JSON = re.compile(f"[{_INVISIBLE}]")
_FOR_PEOPLE = re.compile(f"[\x00-\x1f{_INVISIBLE}]")


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, to the millisecond."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno, record.levelname.lower())


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, exception, and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": _level(record),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        for key, value in _extra(record).items():
            fields.setdefault(key, value)
        text = json.dumps(fields, ensure_ascii=False, default=str)
        return _FOR_JSON.sub(_escape, text)


class PrettyFormatter(logging.Formatter):
    """Time, level and message; a traceback follows indented, so that no line can be forged."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        message = record.getMessage()
        for key, value in _extra(record).items():
            message += f" {key}={value}"
        line = f"{_time(record)} {_level(record).upper():5} {record.name}: {message}"
        lines = [_FOR_PEOPLE.sub(_escape, line)]
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            lines += ["    " + _FOR_PEOPLE.sub(_escape, one) for one in traceback.split("\n")]
        return "\n".join(lines)


def configure(config: LoggingConfig, stream: TextIO | None = None) -> None:
    """Log to `stream`, standard error unless given, from now on; calling again replaces."""
    stream = stream or sys.stderr
    pretty = config.format == "pretty" or (config.format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrettyFormatter() if pretty else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, JsonFormatter | PrettyFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    set_level(config)


def set_level(config: LoggingConfig) -> None:
    """Log from `config.level` upwards; of libraries, warnings and worse only."""
    number = _LEVELS[config.level]
    logging.getLogger("rstmdb").setLevel(number)
    logging.getLogger().setLevel(max(number, logging.WARNING))
