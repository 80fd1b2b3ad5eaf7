"""Completion in shells: bash itself, and what zsh and fish are told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from click.testing import Result

from rstmdb_cli.profiles import config_path
from rstmdb_server.testing import ServerProcess
from wire import Wire

Run = Callable[..., Result]
VARIABLE = "_RSTMDB_CLI_COMPLETE"


@pytest.fixture
def completed(server: ServerProcess, wire: Wire, invoke: Run) -> Callable[..., list[str]]:
    """What fish would be told about the last word of a command line, without the help texts."""

    def complete(*words: str, address: str = server.address) -> list[str]:
        env = {VARIABLE: "fish_complete", "RSTMDB_SERVER": address}
        line = " ".join(["rstmdb-cli", *words])
        result = invoke(env=env | {"COMP_WORDS": line, "COMP_CWORD": words[-1]})
        assert result.exit_code == 0
        lines = [part for part in result.stdout.splitlines() if part.startswith("plain,")]
        return [part.removeprefix("plain,").split("\t")[0] for part in lines]

    return complete


def test_commands_and_options(completed: Callable[..., list[str]]) -> None:
    assert completed("wal") == ["wal-read", "wal-stats"]
    assert completed("apply-event", "--expected-") == ["--expected-state", "--expected-offset"]
    assert completed("--out") == ["--output"]
    assert completed("-o", "") == ["table", "json", "ndjson", "yaml"]
    assert completed("completion", "") == ["bash", "zsh", "fish"]


def test_live_names(completed: Callable[..., list[str]], wire: Wire) -> None:
    assert completed("get-machine", "") == ["order"]
    assert completed("get-machine", "order", "") == ["1"]
    assert completed("get-machine", "-n", "order", "-v", "") == ["1"]
    assert completed("put-machine", "-n", "o") == ["order"]
    assert completed("create-instance", "-m", "order", "-V", "") == ["1"]
    for command in ("get-instance", "delete-instance", "snapshot-instance", "watch-instance"):
        assert completed(command, "") == ["o-1"]
    assert completed("list-instances", "--machine", "order", "--state", "p") == ["paid"]
    assert completed("apply-event", "-i", "o-1", "-e", "") == ["PAY"]
    assert completed("apply-event", "-i", "none", "-e", "") == []
    assert completed("apply-event", "-e", "") == ["PAY", "SHIP"]
    assert completed("watch-all", "--to-states", "created,pa") == ["created,paid"]


def test_without_a_server_there_is_nothing_to_offer(completed: Callable[..., list[str]]) -> None:
    assert completed("get-machine", "", address="127.0.0.1:1") == []
    assert completed("get-machine", "", address="no/address") == []
    assert completed("pi", address="127.0.0.1:1") == ["ping"]


def test_profiles(completed: Callable[..., list[str]], server: ServerProcess) -> None:
    path = config_path()
    path.parent.mkdir()
    path.write_text(f'[profiles.one]\nserver = "{server.address}"\n[profiles.two]\n')
    assert completed("--profile", "") == ["one", "two"]
    words = ("--profile", "one", "get-instance", "")
    assert completed(*words, address="127.0.0.1:1") == ["o-1"]
    path.write_text("nonsense")
    assert completed("--profile", "") == []


def test_zsh_gets_the_help_texts(server: ServerProcess, wire: Wire, invoke: Run) -> None:
    env = {
        VARIABLE: "zsh_complete",
        "RSTMDB_SERVER": server.address,
        "COMP_WORDS": "rstmdb-cli apply-event -i o-1 -e ",
        "COMP_CWORD": "5",
    }
    kind, value, text = invoke(env=env).stdout.splitlines()
    assert (kind, value) == ("plain", "PAY")
    assert text.replace("\\", "") == "created → paid if ctx.amount > 0"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(invoke: Run, shell: str) -> None:
    result = invoke("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{VARIABLE}={shell}_complete" in result.stdout
    program = shutil.which(shell)
    if program is not None:
        checked = subprocess.run([program, "-n"], input=result.stdout, text=True)
        assert checked.returncode == 0


def test_a_shell_that_is_not_known(invoke: Run) -> None:
    result = invoke("completion", "tcsh")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr


@pytest.fixture
def shell_env(server: ServerProcess, wire: Wire, tmp_path: Path) -> dict[str, str]:
    """A shell's environment, in which rstmdb-cli is found and the server is known."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "TERM": "dumb", "RSTMDB_SERVER": server.address}
    return env | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes_what_is_typed(shell_env: dict[str, str]) -> None:
    def completed(line: str) -> str:
        program = f"rstmdb-cli completion fish | source; complete -C '{line}'"
        shown = subprocess.run(
            ["fish", "-c", program], env=shell_env, capture_output=True, text=True, check=True
        )
        return shown.stdout

    assert completed("rstmdb-cli get-instance ") == "o-1\torder: created\n"
    assert completed("rstmdb-cli apply-event -i o-1 -e ") == (
        "PAY\tcreated → paid if ctx.amount > 0\n"
    )


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_completes_what_is_typed(shell_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(
        'autoload -U compinit; compinit -u -D\neval "$(rstmdb-cli completion zsh)"\nPS1=READY:\n'
    )
    shell = pexpect.spawn(
        "zsh", ["-d", "-i"], env=shell_env | {"TERM": "xterm"}, encoding="utf-8", timeout=60
    )
    try:
        shell.expect_exact("READY:")
        shell.send("rstmdb-cli get-inst\t")
        shell.expect_exact("ance")
        shell.send("\t")
        shell.expect_exact("o-1")
    finally:
        shell.close(force=True)


@pytest.fixture
def bash(shell_env: dict[str, str], tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    """An interactive bash with the completion enabled as the help says."""
    profile = tmp_path / "bashrc"
    profile.write_text('PS1=READY:\neval "$(rstmdb-cli completion bash)"\n')
    arguments = ["--noprofile", "--rcfile", str(profile), "-i"]
    shell = pexpect.spawn("bash", arguments, env=shell_env, encoding="utf-8", timeout=60)
    shell.expect_exact("READY:")
    yield shell
    shell.close(force=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_what_is_typed(bash: pexpect.spawn[str]) -> None:
    bash.send("rstmdb-cli get-inst\t")
    bash.expect_exact("ance")
    bash.send("\t")
    bash.expect_exact("o-1")
    bash.sendline("")
    bash.expect_exact("last_wal_offset")
    bash.send("rstmdb-cli apply-event -i o-1 -e \t")
    bash.expect_exact("PAY")
