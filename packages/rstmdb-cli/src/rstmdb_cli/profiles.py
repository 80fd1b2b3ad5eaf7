"""Named servers: `--profile NAME` takes what is under [profiles.NAME] in the configuration file.

The file is $XDG_CONFIG_HOME/rstmdb/config.toml, ~/.config/rstmdb/config.toml unless that is set.
Its keys are the long options of rstmdb-cli, with _ for -; the profile `default` counts when none is
named.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

__all__ = ["CONNECTION", "apply_profile", "config_path", "profile_names"]

CONNECTION = (
    "url",
    "server",
    "token",
    "tls",
    "ca_cert",
    "client_cert",
    "client_key",
    "insecure",
    "server_name",
)
"""What belongs to one server, and is taken from a profile together or not at all."""

_PLACES = ("url", "server")
_FILES = ("ca_cert", "client_cert", "client_key")


def config_path() -> Path:
    """Where profiles are kept."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return Path(base) / "rstmdb/config.toml" if base else Path("~/.config/rstmdb/config.toml")


def profile_names() -> list[str]:
    """The profiles there are; none where the file can't be read."""
    try:
        return list(_profiles(config_path().expanduser()))
    except click.UsageError:
        return []


def apply_profile(context: click.Context) -> None:
    """Put a profile's values into the parameters of the main command, where it has a say.

    A profile named on the command line goes before variables, otherwise they go before it. Where
    something else names the server, nothing that the profile says about its own counts, least of
    all its token. Raises UsageError.
    """
    named: str | None = context.params.get("profile")
    path = config_path().expanduser()
    if named is None and not path.is_file():
        return
    profiles = _profiles(path)
    if named is not None and named not in profiles:
        known = f"; it has {', '.join(profiles)}" if profiles else ""
        raise click.UsageError(f"there is no profile {named!r} in {path}{known}")
    _check_private(path, profiles)
    values = _converted(context, profiles.get(named or "default", {}), path, named or "default")
    typed = context.get_parameter_source("profile") is ParameterSource.COMMANDLINE
    elsewhere = {context.get_parameter_source(name) for name in _PLACES}
    if typed and ParameterSource.COMMANDLINE in elsewhere:
        raise click.UsageError("--profile and --server or --url both name the server: give one")
    if typed:
        _forget_variables(context)
    elif elsewhere & {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}:
        values = {name: value for name, value in values.items() if name not in CONNECTION}
    for name, value in values.items():
        if context.get_parameter_source(name) is ParameterSource.DEFAULT:
            context.params[name] = value
            context.set_parameter_source(name, ParameterSource.DEFAULT_MAP)


def _profiles(path: Path) -> dict[str, dict[str, Any]]:
    """All profiles of a file, none if it is not there. Raises UsageError."""
    import tomllib  # only for those who have such a file

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path} can't be read: {error}") from error
    profiles = content.pop("profiles", {})
    if content or not isinstance(profiles, dict):
        what = f"{min(content)!r} stands" if content else "`profiles` is no table"
        raise click.UsageError(f"{path}: {what}; there are only tables [profiles.NAME]")
    for name, values in profiles.items():
        if not isinstance(values, dict):
            raise click.UsageError(f"{path}: profiles.{name} is no table")
    return profiles


def _converted(
    context: click.Context, values: dict[str, Any], path: Path, profile: str
) -> dict[str, Any]:
    """The values as the options of these names would take them. Raises UsageError."""
    where = f"{path}: profiles.{profile}"
    options = {p.name: p for p in context.command.params if p.name not in ("profile", "as_json")}
    known = [*CONNECTION, "wire_mode", "verbose", "output"]
    for place in _PLACES:
        if all(name in values for name in _PLACES):
            raise click.UsageError(f"{where} has url and server, which both name it: give one")
        if place in values and not isinstance(values[place], str):
            raise click.UsageError(f"{where}.{place} is no string")
    found = {}
    for name, value in values.items():
        if name not in known:
            raise click.UsageError(f"{where} has {name!r}; known: {', '.join(known)}")
        if name in _FILES and isinstance(value, str):
            value = str(Path(value).expanduser())
        try:
            found[name] = options[name].process_value(context, value)
        except click.BadParameter as error:
            raise click.UsageError(f"{where}.{name}: {error.message}") from error
    return found


def _forget_variables(context: click.Context) -> None:
    """Let no variable about another server count."""
    for option in context.command.params:
        name = option.name
        if name in CONNECTION and (
            context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
        ):
            default = option.default  # which click has a mark of its own for, where there is none
            context.params[name] = default if isinstance(default, str | bool) else None
            context.set_parameter_source(name, ParameterSource.DEFAULT)


def _check_private(path: Path, profiles: dict[str, dict[str, Any]]) -> None:
    """Warn of tokens that other users of the machine can read."""
    secret = any("token" in v or "@" in str(v.get("url", "")) for v in profiles.values())
    if secret and path.stat().st_mode & 0o077:
        click.echo(f"rstmdb-cli: {path} holds tokens and others can read it: chmod 600", err=True)
