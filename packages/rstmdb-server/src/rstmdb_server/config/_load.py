"""Where settings come from: a file, over it the environment, over it the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ._errors import ConfigError
from ._settings import Config, Sources
from ._table import ADDED_TOKEN_HASH, IGNORED, SECRET, SETTINGS, Setting
from ._values import level, token_hash
from ._yaml import Located, parse_yaml

__all__ = ["load_config", "reload_config"]

_PREFIX = "RSTMDB_"
_SECTIONS = tuple(dict.fromkeys(key.partition(".")[0] for key in SETTINGS))
_VARIABLES = {setting.variable: setting for setting in SETTINGS.values()}
_LONGEST_VALUE = 80


def load_config(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Config:
    """Put the settings together: defaults, then `path`, then `environ`, then `overrides`.

    `path` is a YAML file or None, `overrides` maps keys such as `storage.data_dir` to values.
    Raises ConfigError for a file that can't be read, an unknown key, and a value that does not
    parse or lies out of range. What only the file system can tell is `config.check`'s matter.
    """
    values: dict[str, Any] = {}
    warnings: list[str] = []
    if path is not None:
        for key, located in _read_file(path):
            where = f"{path}:{located.line}"
            if key in IGNORED:
                warnings.append(f"{where}: {key} has no effect: {IGNORED[key]}")
            else:
                values[key] = _parse(SETTINGS[key], located.value, where)
    values.update(_from_environment(environ, values, warnings))
    for key, value in overrides.items():
        values[key] = _parse(_known(key, "command line"), value, "command line")
    sections: dict[str, Any] = {}
    for section in _SECTIONS:
        given = {
            key.partition(".")[2]: value
            for key, value in values.items()
            if key.startswith(f"{section}.")
        }
        sections[section] = type(getattr(_DEFAULTS, section))(**given)
    own = {name: environ[name] for name in (*_VARIABLES, "RUST_LOG") if name in environ}
    return Config(**sections, warnings=tuple(warnings), sources=Sources(path, own, dict(overrides)))


_DEFAULTS = Config()


def reload_config(config: Config) -> Config:
    """Read the same sources once more, as at the start. Raises ConfigError."""
    return load_config(*config.sources)


def _read_file(path: Path) -> Iterator[tuple[str, Located]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    root = parse_yaml(text, str(path))
    for section, content in _entries(root, f"{path}:{root.line}", "the file"):
        where = f"{path}:{content.line}"
        if section not in _SECTIONS:
            raise ConfigError(f"{where}: unknown key {section!r}{_nearest_key(section)}")
        for name, located in _entries(content, where, section):
            key = f"{section}.{name}"
            if key not in IGNORED:
                _known(key, f"{path}:{located.line}")
            yield key, Located(_plain(located.value), located.line)


def _entries(located: Located, where: str, what: str) -> Iterable[tuple[str, Located]]:
    """The entries of a mapping; one that is left empty has none."""
    if located.value is None:
        return ()
    if not isinstance(located.value, dict):
        raise ConfigError(f"{where}: {what} must hold keys with values, not {located.value!r:.80}")
    return located.value.items()


def _plain(value: object) -> object:
    """A value without the lines of what it is made of."""
    if isinstance(value, Located):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _from_environment(
    environ: Mapping[str, str], from_file: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rust_log = environ.get("RUST_LOG")
    if rust_log:
        found = _rust_log_level(rust_log)
        if found is None:
            warnings.append(f"RUST_LOG: {rust_log!r:.80} names no level for rstmdb; ignored")
        else:
            values["logging.level"] = found
    for name, text in environ.items():
        setting = _VARIABLES.get(name)
        if setting is None:
            if name.startswith(_PREFIX):
                _suspect(name, warnings)
        elif setting.key == ADDED_TOKEN_HASH:
            added = _parse(Setting(setting.key, name, token_hash), text, name)
            values[setting.key] = (*from_file.get(setting.key, ()), added)
        else:
            values[setting.key] = _parse(setting, text, name)
    return values


def _suspect(name: str, warnings: list[str]) -> None:
    """Warn of a variable that looks like a misspelt one; others may belong to a client."""
    known = [variable.removeprefix(_PREFIX) for variable in _VARIABLES]
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), known, 1, 0.8)
    if close:
        warnings.append(f"the variable {name} is not known; did you mean {_PREFIX}{close[0]}?")


def _rust_log_level(text: str) -> str | None:
    """The level that `info`, `rstmdb=debug` or a list of such gives rstmdb; the last counts."""
    general = own = None
    for directive in text.split(","):
        target, equals, name = directive.strip().rpartition("=")
        try:
            found = level(name)
        except ValueError:
            continue
        if not equals:
            general = found
        elif target.startswith("rstmdb"):
            own = found
    return own or general


def _known(key: str, where: str) -> Setting:
    setting = SETTINGS.get(key)
    if setting is None:
        raise ConfigError(f"{where}: unknown key {key!r}{_nearest_key(key)}")
    return setting


def _nearest_key(key: str) -> str:
    """A hint to the nearest key, be it misspelt or in the wrong section."""
    section, _, name = key.partition(".")
    by_name = {known.partition(".")[2]: known for known in reversed(SETTINGS)}
    if not name:
        candidates = [*_SECTIONS, *by_name]
        close = difflib.get_close_matches(section, candidates, 1)
        nearest = by_name.get(close[0], close[0]) if close else None
    elif section in _SECTIONS and name in by_name:
        nearest = by_name[name]
    else:
        close = difflib.get_close_matches(key, SETTINGS, 1)
        nearest = close[0] if close else None
    if nearest is not None:
        return f"; did you mean {nearest!r}?"
    inside = [known for known in SETTINGS if known.startswith(f"{section}.")]
    return f"; known are {', '.join(inside or _SECTIONS)}"


def _parse(setting: Setting, value: object, where: str) -> Any:
    try:
        return setting.parse(value)
    except ValueError as error:
        shown = "the value" if setting.key in SECRET else _shown(value)
        raise ConfigError(f"{where}: {setting.key}: {shown} is not {error}") from error


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
