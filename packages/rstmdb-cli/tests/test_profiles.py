"""Profiles: named servers in a file, and what goes before what."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rstmdb_cli.profiles import CONNECTION, config_path, profile_names
from rstmdb_client import Target
from rstmdb_server.testing import ServerProcess

Run = Callable[..., Result]

THREE = """
[profiles.default]
server = "near:1"

[profiles.prod]
url = "rstmdbs://secret@far:2?server_name=db"
output = "json"

[profiles.test]
server = "test:3"
token = "t"
wire-mode = "jsonl"
"""
THREE = THREE.replace("wire-mode", "wire_mode")


@pytest.fixture
def config() -> Callable[[str], Path]:
    """Write the configuration file, which the environment names."""

    def write(text: str, mode: int = 0o600) -> Path:
        path = config_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def target(invoke: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Target]:
    """Where a command line would connect."""

    def connect_with(*arguments: str, **env: str) -> Target:
        found: list[Target] = []

        class Client:
            def __init__(self, target: Target) -> None:
                found.append(target)

            def __enter__(self) -> Client:
                return self

            def __exit__(self, *_: object) -> None: ...

            def call(self, op: str, params: dict[str, Any]) -> dict[str, Any]:
                return {}

        monkeypatch.setattr("rstmdb_client.SyncClient", Client)
        result = invoke(*arguments, "ping", env=env)
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
        return found[0]

    return connect_with


def test_a_profile_names_the_server(target: Callable[..., Target], config: Any) -> None:
    config(THREE)
    assert target() == Target((("near", 1),))
    prod = Target((("far", 2),), token="secret", tls=True, server_name="db")
    assert target("--profile", "prod") == prod
    assert target(RSTMDB_PROFILE="prod") == prod
    assert target("--profile", "test") == Target((("test", 3),), token="t", wire_mode="jsonl")


def test_options_go_before_the_profile(target: Callable[..., Target], config: Any) -> None:
    config(THREE)
    assert target("--profile", "test", "-t", "mine").token == "mine"
    assert target("--profile", "test", "-k") == Target(
        (("test", 3),), token="t", tls=True, insecure=True, wire_mode="jsonl"
    )
    assert target("--profile", "test", "--wire-mode", "binary").wire_mode == "binary"


def test_a_profile_on_the_command_line_goes_before_variables(
    target: Callable[..., Target], config: Any
) -> None:
    config(THREE)
    env = {"RSTMDB_URL": "rstmdbs://leak@other", "RSTMDB_SERVER": "other:9", "RSTMDB_TOKEN": "leak"}
    assert target("--profile", "test", **env) == Target(
        (("test", 3),), token="t", wire_mode="jsonl"
    )
    assert target("--profile", "default", **env) == Target((("near", 1),))


def test_a_profiles_token_goes_to_no_other_server(
    target: Callable[..., Target], config: Any
) -> None:
    config(THREE)
    for given in (
        target("-s", "other:9", RSTMDB_PROFILE="test"),
        target(RSTMDB_SERVER="other:9", RSTMDB_PROFILE="test"),
        target(RSTMDB_URL="rstmdb://other:9", RSTMDB_PROFILE="test"),
        target("--url", "rstmdb://other:9", RSTMDB_PROFILE="prod"),
    ):
        assert (given.hosts, given.token, given.tls) == ((("other", 9),), None, False)


def test_a_profile_can_name_the_output(invoke: Run, server: ServerProcess, config: Any) -> None:
    config(f'[profiles.default]\nserver = "{server.address}"\noutput = "ndjson"\n')
    assert invoke("ping").stdout == '{"pong": true}\n'
    assert invoke("ping", env={"RSTMDB_OUTPUT": "table"}).stdout == "pong  true\n"
    assert invoke("-o", "yaml", "ping").stdout == "pong: true\n"
    assert invoke("--json", "ping").stdout == '{\n  "pong": true\n}\n'


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", ("--profile", "x"), "there is no profile 'x' in"),
        (THREE, ("--profile", "x"), "it has default, prod, test"),
        (THREE, ("--profile", "prod", "-s", "a:1"), "give one"),
        (THREE, ("--profile", "prod", "--url", "rstmdb://a"), "give one"),
        ("[profiles", (), "can't be read"),
        ("[profile.x]", (), "'profile' stands"),
        ("profiles = 1", (), "`profiles` is no table"),
        ("[profiles]\nx = 1", (), "profiles.x is no table"),
        ("[profiles.default]\nserer = 'a'", (), "has 'serer'; known: url, server"),
        ("[profiles.default]\nserver = 1", (), "profiles.default.server is no string"),
        ("[profiles.default]\nserver = 'a/b'", (), "no HOST:PORT"),
        ("[profiles.default]\nserver='a'\nurl='rstmdb://a'", (), "which both name it"),
        ("[profiles.default]\noutput = 'x'", (), "'x' is not one of"),
        ("[profiles.default]\nca_cert = '/none'", (), "does not exist"),
        ("[profiles.default]\ntls = 'perhaps'", (), "profiles.default.tls"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    invoke: Run, config: Any, text: str, arguments: tuple[str, ...], message: str
) -> None:
    config(text)
    result = invoke(*arguments, "ping")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "secret" not in result.stderr


def test_a_home_is_found_in_paths(
    target: Callable[..., Target], config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import trustme

    monkeypatch.setenv("HOME", str(tmp_path))
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    config('[profiles.default]\nserver = "a:1"\nca_cert = "~/ca.pem"\n')
    assert target() == Target((("a", 1),), tls=True, ca_cert=str(tmp_path / "ca.pem"))


def test_tokens_that_others_can_read_are_warned_of(
    invoke: Run, server: ServerProcess, config: Any
) -> None:
    path = config(f'[profiles.default]\nserver = "{server.address}"\ntoken = "t"\n', 0o644)
    result = invoke("ping")
    assert (result.exit_code, result.stdout) == (0, "pong  true\n")
    assert result.stderr == f"rstmdb-cli: {path} holds tokens and others can read it: chmod 600\n"
    path.chmod(0o600)
    assert invoke("ping").stderr == ""


def test_without_a_file_nothing_changes(
    target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert target() == Target()
    assert profile_names() == []
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path().expanduser() == tmp_path / ".config/rstmdb/config.toml"
    assert set(CONNECTION) >= {"url", "server", "token", "tls"}
    assert os.environ["HOME"] == str(tmp_path)
