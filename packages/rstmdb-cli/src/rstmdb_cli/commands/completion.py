"""completion: what a shell needs to complete commands, options and live names."""

from __future__ import annotations

import click

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands in a shell.

    Put it where the shell reads it when it starts: behind ~/.bashrc for bash, behind ~/.zshrc
    for zsh (below compinit), into ~/.config/fish/completions/rstmdb-cli.fish for fish.
    It completes commands and options, and asks the server for names of machines, states and
    events and for ids of instances.
    """
    from click.shell_completion import get_completion_class

    from rstmdb_cli.main import main

    found = get_completion_class(shell)
    if found is None:  # a click that has dropped the shell
        raise click.ClickException(f"this click knows no {shell}")
    click.echo(found(main, {}, "rstmdb-cli", "_RSTMDB_CLI_COMPLETE").source())
