"""The command `rstmdb-cli`."""

from __future__ import annotations

from typing import Any

import click

from . import __version__
from .commands import COMMANDS
from .output import FORMATS
from .session import Session

__all__ = ["main"]


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "RSTMDB_CLI",
        "max_content_width": 100,
    },
    epilog="Exit codes: 0 done, 1 server error, 2 wrong usage, 3 unreachable, 4 authentication, "
    "5 precondition (not found, exists, invalid transition, guard, conflict), 6 timeout, "
    "130 interrupted.",
)
@click.option("--url", envvar="RSTMDB_URL", help="rstmdb://TOKEN@HOST:PORT: server, token, TLS.")
@click.option(
    "-s", "--server", envvar="RSTMDB_SERVER", default="127.0.0.1:7401", show_default=True,
    metavar="HOST:PORT",
)  # fmt: skip
@click.option("-t", "--token", envvar="RSTMDB_TOKEN")
@click.option("--tls", is_flag=True, envvar="RSTMDB_TLS", help="Connect with TLS.")
@click.option("--ca-cert", envvar="RSTMDB_CA_CERT", metavar="FILE", help="Trust these.")
@click.option("--client-cert", envvar="RSTMDB_CLIENT_CERT", metavar="FILE")
@click.option("--client-key", envvar="RSTMDB_CLIENT_KEY", metavar="FILE")
@click.option("-k", "--insecure", is_flag=True, envvar="RSTMDB_INSECURE", help="Trust anybody.")
@click.option("--server-name", envvar="RSTMDB_SERVER_NAME", help="Name in its certificate.")
@click.option(
    "--wire-mode", envvar="RSTMDB_WIRE_MODE", default="binary",
    type=click.Choice(["binary", "jsonl"]), show_default=True,
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, envvar="RSTMDB_VERBOSE", help="Details of errors.")
@click.option(
    "-o", "--output", envvar="RSTMDB_OUTPUT", default="table", type=click.Choice(FORMATS),
    show_default=True,
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --output json.")
@click.version_option(__version__, "--version", prog_name="rstmdb-cli")
@click.pass_context
def main(context: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Talk to an rstmdb server."""
    if as_json:
        options["output"] = "json"
    context.obj = Session(**options)


for _command in COMMANDS:
    main.add_command(_command)
