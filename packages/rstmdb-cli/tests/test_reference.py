"""The page of the reference names every command, option, variable and exit code, and no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rstmdb_cli.commands import SUBJECTS, load
from rstmdb_cli.commands.examples import EXAMPLES
from rstmdb_cli.exits import CODES_HELP
from rstmdb_cli.main import main
from rstmdb_cli.output import FORMATS
from rstmdb_cli.profiles import CONNECTION
from rstmdb_cli.repl.grammar import OWN, SHORT, expanded
from rstmdb_server.testing import ServerProcess

PAGE = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text(encoding="utf-8")
HEAD, _, COMMANDS = PAGE.partition("\n## Commands\n")
SECTIONS = dict(re.findall(r"\n### (\S+)\n(.*?)(?=\n### |\Z)", COMMANDS, re.DOTALL))


def part(title: str) -> str:
    """The text below a heading."""
    found = re.search(rf"\n## {title}\n(.*?)(?=\n## |\Z)", PAGE, re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line[1:-1])] for line in lines]
    return [row for row in cells if not set(row[0]) <= {"-"}]


def options_in(text: str) -> set[str]:
    """The options that a table's first column names."""
    return {name for row in rows(text) for name in re.findall(r"`(--?[a-z-]+|-[a-zA-Z])`", row[0])}


def test_every_command_has_a_section_in_the_order_of_help() -> None:
    assert list(SECTIONS) == list(SUBJECTS)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_section_is_what_the_command_is(name: str) -> None:
    command, section = load(name), SECTIONS[name]
    context = click.Context(command, info_name=name)
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    assert options_in(section) == {opt for option in options for opt in option.opts}
    for option in options:
        assert option.help is not None
        assert option.help.replace("|", "\\|") in section
        row = next(row for row in rows(section) if f"`{option.opts[0]}`" in row[0])
        assert ("Required." in row[1]) == option.required
    usage = section.partition("```\n")[2].partition("\n")[0].split()
    pieces = [p for p in command.collect_usage_pieces(context) if options or p != "[OPTIONS]"]
    assert usage == ["rstmdb-cli", name, *pieces]
    plain = section.replace("`", "")
    assert command.help is not None
    for sentence in re.split(r"\n\n|\n    ", command.help.replace("\b\n", "")):
        assert " ".join(sentence.split()) in " ".join(plain.split())
    for line in EXAMPLES.get(name, ()):
        assert line in section


def test_every_global_option_and_variable_is_there() -> None:
    text = part("Options for all commands")
    named = {opt for option in main.params for opt in option.opts}
    assert options_in(text) == named | {"-h", "--help"}
    variables = {o.envvar for o in main.params if isinstance(o.envvar, str)}
    assert {
        name for row in rows(text) for name in re.findall(r"`(RSTMDB_\w+)`", row[1])
    } == variables
    for option in main.params:
        if option.envvar:
            assert any(f"`{option.opts[-1]}`" in row[0] and f"`{option.envvar}`" in row[1]
                       for row in rows(text))  # fmt: skip


def test_every_exit_code_format_and_key_of_a_profile_is_there() -> None:
    codes = re.findall(r"(?:^|, )(\d+) ", CODES_HELP)
    assert [row[0] for row in rows(part("Exit codes"))][1:] == codes
    assert [row[0].strip("`") for row in rows(part("Output"))][1:] == list(FORMATS)
    keys = re.search(r"The keys are .*?: (.*?)\.\n", part("Profiles"), re.DOTALL)
    assert keys is not None
    known = {*CONNECTION, "wire_mode", "verbose", "output"}
    assert set(re.findall(r"`(\w+)`", keys[1])) == known


def test_every_short_command_is_there_and_means_what_it_says() -> None:
    table = {row[0]: row[1] for row in rows(part("Prompt")) if row[0] != "command"}
    found = {name for cell in table for name in re.findall(r"`(\w+)", cell)}
    assert found == set(SHORT) | set(OWN)
    for name, short in SHORT.items():
        usage = f"{name} {short.usage}".strip()
        words = usage.replace("[", "").replace("]", "").split()
        meaning = table[f"`{usage}`"].strip("`").replace("[", "").replace("]", "")
        assert " ".join(expanded(words)) == meaning


def test_its_profile_and_its_script_work(server: ServerProcess, tmp_path: Path) -> None:
    config = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    script = re.search(r"```sh\n(rstmdb-cli <<'END'.*?)```", HEAD, re.DOTALL)
    assert config is not None
    assert script is not None
    (tmp_path / "rstmdb").mkdir()
    path = tmp_path / "rstmdb/config.toml"
    path.write_text(config[1].replace("127.0.0.1:7401", server.address))
    path.chmod(0o600)
    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "PATH": bin_first}
    put = ["rstmdb-cli", "put-machine", "-n", "order", "-v", "1", "-"]
    machine = (
        '{"states": ["created", "paid"], "initial": "created",'
        ' "transitions": [{"from": "created", "event": "PAY", "to": "paid"}]}'
    )
    subprocess.run(put, input=machine, env=env, check=True, text=True, capture_output=True)
    done = subprocess.run(
        ["bash", "-euc", script[1]], env=env, check=True, text=True, capture_output=True
    )
    assert "paid" in done.stdout
