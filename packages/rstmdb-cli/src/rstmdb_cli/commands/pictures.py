"""`--diagram` and `--svg`, which machines and instances share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["DIAGRAM", "SVG", "draw"]

DIAGRAM = click.option("--diagram", is_flag=True, help="Draw it, as text for Mermaid.")
SVG = click.option(
    "--svg", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True),
    help="Draw it, as SVG into FILE; - is standard output.",
)  # fmt: skip


def draw(
    definition: dict[str, Any],
    title: str,
    *,
    diagram: bool,
    svg: str | None,
    current: str | None = None,
) -> None:
    """Draw a definition in the forms asked for, and mark the current state."""
    from rstmdb_cli import diagrams

    if diagram:
        click.echo(diagrams.mermaid(definition, current))
    if svg is None:
        return
    picture = diagrams.svg(definition, title, current)
    if svg == "-":
        click.echo(picture, nl=False)
        return
    try:
        Path(svg).write_text(picture, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{svg} can't be written: {error.strerror}") from error
    click.echo(f"drawn into {svg}", err=True)
