"""The command `rstmdb-cli`."""

from __future__ import annotations

import os
from typing import Any

import click

from .commands import SUBJECTS, load, unknown
from .exits import CODES_HELP, reported
from .output import FORMATS
from .profiles import profile_names
from .session import Session

__all__ = ["main"]


class _CommandLine(click.Group):
    """Imports a command's module when it is used, and reports whatever goes wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBJECTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in SUBJECTS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in SUBJECTS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(unknown(name, SUBJECTS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with reported(verbose=ctx.params["verbose"]):
            return super().invoke(ctx)


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value or any(c in "/?#@" or c.isspace() for c in value):
        raise click.BadParameter(f"{value!r} is no HOST:PORT; a whole URL is for --url")
    return value


def _profiles(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in profile_names() if name.startswith(begun)]


_FILE = click.Path(exists=True, dir_okay=False)


@click.group(
    cls=_CommandLine,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
    epilog="Begin with: rstmdb-cli put-machine --help, which shows a whole definition, or with "
    f"rstmdb-cli repl, whose help leads through the first steps. Exit codes: {CODES_HELP}.",
)
@click.option(
    "-s", "--server", envvar="RSTMDB_SERVER", default="127.0.0.1:7401", metavar="HOST:PORT",
    callback=_address, show_envvar=True, help="Where the server listens.",
)  # fmt: skip
@click.option(
    "-t", "--token", envvar="RSTMDB_TOKEN", show_envvar=True, help="Token for AUTH.",
)  # fmt: skip
@click.option(
    "--url", envvar="RSTMDB_URL", metavar="URL", show_envvar=True,
    help="Server, token and TLS at once: rstmdb://TOKEN@HOST:PORT, or rstmdbs:// for TLS. "
    "--server goes before the variable.",
)  # fmt: skip
@click.option(
    "--profile", envvar="RSTMDB_PROFILE", metavar="NAME", show_envvar=True,
    shell_complete=_profiles,
    help="Take all this from [profiles.NAME] in ~/.config/rstmdb/config.toml.",
)  # fmt: skip
@click.option(
    "--tls", is_flag=True, envvar="RSTMDB_TLS", show_envvar=True,
    help="Connect with TLS; the options from here to --server-name imply it.",
)  # fmt: skip
@click.option(
    "--ca-cert", envvar="RSTMDB_CA_CERT", type=_FILE, show_envvar=True,
    help="Trust the authorities in this PEM file.",
)  # fmt: skip
@click.option(
    "--client-cert", envvar="RSTMDB_CLIENT_CERT", type=_FILE, show_envvar=True,
    help="Show this certificate to the server (PEM).",
)  # fmt: skip
@click.option(
    "--client-key", envvar="RSTMDB_CLIENT_KEY", type=_FILE, show_envvar=True,
    help="Its key (PEM), if that is in a file of its own.",
)  # fmt: skip
@click.option(
    "-k", "--insecure", is_flag=True, envvar="RSTMDB_INSECURE", show_envvar=True,
    help="Do not verify the server's certificate.",
)  # fmt: skip
@click.option(
    "--server-name", envvar="RSTMDB_SERVER_NAME", metavar="NAME", show_envvar=True,
    help="The name that the server's certificate must have, if not its host's.",
)  # fmt: skip
@click.option(
    "--wire-mode", envvar="RSTMDB_WIRE_MODE", default="binary", show_envvar=True,
    type=click.Choice(["binary", "jsonl"]), help="How messages travel.",
)  # fmt: skip
@click.option(
    "-v", "--verbose", is_flag=True, envvar="RSTMDB_VERBOSE", show_envvar=True,
    help="Show the details of errors.",
)  # fmt: skip
@click.option(
    "-o", "--output", envvar="RSTMDB_OUTPUT", default="table", type=click.Choice(FORMATS),
    show_envvar=True, help="How results are shown.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --output json.")
@click.version_option(None, "--version", package_name="rstmdb-cli", prog_name="rstmdb-cli")
@click.pass_context
def main(context: click.Context, /, **_options: Any) -> None:
    """Talk to an rstmdb server.

    Without a command it reads commands, as the command repl does.
    """
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        context.color = False
    context.obj = Session.of(context)
    if context.invoked_subcommand is None:
        context.invoke(load("repl"))
