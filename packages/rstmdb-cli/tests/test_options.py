"""Names of commands and options, and what the global options and their variables come to."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from rstmdb_cli.commands import SUBJECTS, load
from rstmdb_cli.main import main
from rstmdb_client import Target
from rstmdb_server.testing import ServerProcess

Run = Callable[..., Result]

GLOBAL = {
    "server": ("-s", "--server"),
    "token": ("-t", "--token"),
    "url": ("--url",),
    "profile": ("--profile",),
    "tls": ("--tls",),
    "ca_cert": ("--ca-cert",),
    "client_cert": ("--client-cert",),
    "client_key": ("--client-key",),
    "insecure": ("-k", "--insecure"),
    "server_name": ("--server-name",),
    "wire_mode": ("--wire-mode",),
    "verbose": ("-v", "--verbose"),
    "output": ("-o", "--output"),
}
COMMANDS = {
    "ping": "",
    "info": "",
    "put-machine": "-n --name -v --version DEFINITION",
    "get-machine": "[MACHINE] [VERSION] -n --name -v --version --diagram --svg",
    "list-machines": "--limit --offset",
    "create-instance": "-m --machine -V --version -i --id -c --ctx --idempotency-key",
    "get-instance": "ID --diagram --svg",
    "list-instances": "--machine --state --limit --offset",
    "apply-event": "-i --id -e --event -p --payload --expected-state --expected-offset --event-id "
    "--idempotency-key",
    "delete-instance": "ID --idempotency-key",
    "batch": "FILE --atomic --import-id --from-line",
    "watch-instance": "ID --no-ctx --from-offset",
    "watch-all": "--machines --from-states --to-states --events --no-ctx --from-offset",
    "top": "--interval --count",
    "snapshot-instance": "ID",
    "wal-read": "-f --from --from-offset -l --limit",
    "wal-stats": "",
    "compact": "-f --force",
    "backup": "[NAME]",
    "restore": "SOURCE TARGET --to-offset --renumber",
    "verify": "DIRECTORY",
    "repair": "DIRECTORY --skip --yes",
    "dump": "DIRECTORY --skip-damage",
    "stats": "DIRECTORY",
    "hash-token": "TOKEN",
    "flush-all": "--yes",
    "repl": "",
    "completion": "{bash|zsh|fish}",
}


def parameters(command: click.Command) -> list[str]:
    context = click.Context(command)
    names: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            names.append(parameter.make_metavar(context))
        elif not getattr(parameter, "hidden", False):
            names += parameter.opts
    return names


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_exactly_the_documented_parameters(name: str) -> None:
    assert parameters(load(name)) == COMMANDS[name].split()


def test_there_are_no_other_commands(invoke: Run) -> None:
    assert set(SUBJECTS) == set(COMMANDS)
    shown = invoke("--help").stdout
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert "..." not in shown.partition("Commands:")[2]  # no text is cut


def test_every_global_option_has_a_variable() -> None:
    options = {option.name: option for option in main.params if option.name != "version"}
    del options["as_json"]  # which is short for --output json
    assert {name: tuple(option.opts) for name, option in options.items()} == GLOBAL
    variables = {name: option.envvar for name, option in options.items()}
    assert variables == {name: f"RSTMDB_{name.upper()}" for name in GLOBAL}


def test_options_of_commands_read_no_variables() -> None:
    for name in SUBJECTS:
        command = load(name)
        assert {parameter.envvar for parameter in command.params} <= {None}, name
        assert command.context_settings.get("auto_envvar_prefix") is None
    assert main.context_settings.get("auto_envvar_prefix") is None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name: str, invoke: Run) -> None:
    command = load(name)
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert command.help
    assert command.help.split("\n")[0] in result.stdout
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, option.name


def test_help_and_version(invoke: Run) -> None:
    shown = invoke("-h").stdout
    assert "RSTMDB_SERVER" in shown
    assert "5 precondition" in " ".join(shown.split())
    assert invoke("--version").stdout == f"rstmdb-cli, version {version('rstmdb-cli')}\n"


# -- what they come to -----------------------------------------------------------------------------


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
        assert (result.exit_code, result.stderr) == (0, "")
        return found[0]

    return connect_with


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """The system's authorities would do as well: a file that TLS accepts."""
    import trustme

    file = tmp_path / "pem"
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(file)
    return str(file)


def test_without_options_it_is_the_default_port_of_this_machine(
    target: Callable[..., Target],
) -> None:
    assert target() == Target()


def test_options_and_variables_mean_the_same(target: Callable[..., Target], pem: str) -> None:
    options = {
        "server": "[::1]:99",
        "token": "a@b/c?d",
        "ca_cert": pem,
        "client_cert": pem,
        "client_key": pem,
        "server_name": "db",
        "wire_mode": "jsonl",
    }
    arguments = [part for name, value in options.items() for part in (GLOBAL[name][0], value)]
    env = {f"RSTMDB_{name.upper()}": value for name, value in options.items()}
    expected = Target(
        hosts=(("::1", 99),),
        token="a@b/c?d",
        tls=True,
        ca_cert=pem,
        client_cert=pem,
        client_key=pem,
        server_name="db",
        insecure=True,
        wire_mode="jsonl",
    )
    assert target(*arguments, "--tls", "--insecure") == expected
    assert target(**env, RSTMDB_TLS="true", RSTMDB_INSECURE="1") == expected


def test_the_command_line_goes_before_variables(target: Callable[..., Target]) -> None:
    given = target("-s", "a:1", "-t", "x", RSTMDB_SERVER="b:2", RSTMDB_TOKEN="y")
    assert given == Target(hosts=(("a", 1),), token="x")


def test_whatever_is_about_certificates_implies_tls(target: Callable[..., Target]) -> None:
    assert target("-k").tls
    assert target("--server-name", "db").tls
    assert target("-k", "--url", "rstmdb://db").tls
    assert not target("-t", "x").tls


def test_a_url_sets_server_token_and_tls(target: Callable[..., Target]) -> None:
    expected = Target(hosts=(("db", 99),), token="x", tls=True)
    assert target("--url", "rstmdbs://x@db:99") == expected
    assert target(RSTMDB_URL="rstmdbs://x@db:99") == expected
    variables = {"RSTMDB_SERVER": "other:1", "RSTMDB_TOKEN": "y", "RSTMDB_TLS": "true"}
    plain = target(RSTMDB_URL="rstmdb://x@db:99", **variables)
    assert plain == Target(hosts=(("db", 99),), token="x")


def test_variables_say_what_the_url_does_not(target: Callable[..., Target], pem: str) -> None:
    given = target(
        RSTMDB_URL="rstmdbs://db?server_name=one&request_timeout=5",
        RSTMDB_TOKEN="y",
        RSTMDB_CA_CERT=pem,
        RSTMDB_SERVER_NAME="two",
        RSTMDB_WIRE_MODE="jsonl",
    )
    assert given == Target(
        hosts=(("db", 7401),),
        token="y",
        tls=True,
        ca_cert=pem,
        server_name="one",
        wire_mode="jsonl",
        request_timeout=5.0,
    )
    assert target(RSTMDB_URL="rstmdb://db?wire_mode=jsonl").wire_mode == "jsonl"


def test_the_command_line_goes_before_the_url(target: Callable[..., Target]) -> None:
    url = {"RSTMDB_URL": "rstmdb://x@db:99?wire_mode=jsonl"}
    assert target("-t", "y", "--wire-mode", "binary", **url) == Target((("db", 99),), token="y")


def test_the_token_of_a_url_goes_to_no_other_server(target: Callable[..., Target]) -> None:
    assert target("-s", "other:1", RSTMDB_URL="rstmdbs://x@db") == Target((("other", 1),))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-s", "a/b"), "no HOST:PORT"),
        (("-s", "token@a"), "no HOST:PORT"),
        (("-s", ""), "no HOST:PORT"),
        (("-s", "a:0"), "no port"),
        (("-s", "a:b"), "no port"),
        (("--url", "http://a"), "begins with rstmdb://"),
        (("--url", "rstmdb://a?x=1"), "unknown option 'x'"),
        (("--url", "rstmdb://a", "-s", "b"), "give one"),
        (("--ca-cert", "/none"), "'/none' does not exist"),
        (("--wire-mode", "x"), "'x' is not one of"),
        (("-o", "x"), "'x' is not one of"),
        (("--client-key", __file__), "needs --client-cert"),
        (("--ca-cert", __file__), "TLS"),
        (("--nope",), "No such option"),
    ],
)
def test_settings_that_make_no_sense_are_wrong_usage(
    invoke: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = invoke(*arguments, "ping")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_output_and_verbose_have_variables_that_work(invoke: Run, server: ServerProcess) -> None:
    env = {"RSTMDB_SERVER": server.address, "RSTMDB_OUTPUT": "json", "RSTMDB_VERBOSE": "1"}
    assert invoke("ping", env=env).stdout == '{\n  "pong": true\n}\n'
    assert '"instance_id": "none"' in invoke("get-instance", "none", env=env).stderr
    assert invoke("--json", "ping", env=env | {"RSTMDB_OUTPUT": "yaml"}).stdout[0] == "{"


def test_json_lines_on_the_wire(
    invoke: Run, server: ServerProcess, fake: Callable[..., Any]
) -> None:
    assert invoke("-s", server.address, "--wire-mode", "jsonl", "ping").stdout == "pong  true\n"
    listening = fake(lambda _: {"status": "ok", "result": {"pong": True}})
    assert invoke("-s", listening.address, "--wire-mode", "jsonl", "ping").exit_code == 0
    assert listening.seen.get()["params"]["wire_modes"][0] == "jsonl"


def test_the_output_may_be_named_behind_the_command(invoke: Run, server: ServerProcess) -> None:
    on = ("-s", server.address, "-o", "yaml")
    assert invoke(*on, "ping", "--json").stdout == '{\n  "pong": true\n}\n'
    assert invoke(*on, "ping", "-o", "ndjson").stdout == '{"pong": true}\n'
    assert invoke(*on, "ping").stdout == "pong: true\n"
    assert invoke(*on, "ping", "-o", "x").exit_code == 2


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("get-instnce", "get-instance"), ("aply-event", "apply-event"), ("list", "--help")],
)
def test_a_command_that_is_misspelt(invoke: Run, typed: str, meant: str) -> None:
    result = invoke(typed, "x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"there is no command '{typed}'" in result.stderr
    assert meant in result.stderr


def test_json_without_its_quotes_tells_of_quoting(invoke: Run) -> None:
    result = invoke("put-machine", "-n", "a", "-v", "1", "{states: [a]}")
    assert result.exit_code == 2
    assert "In a shell JSON goes into single quotes: '{\"a\": 1}'" in result.stderr
