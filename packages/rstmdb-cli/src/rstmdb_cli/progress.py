"""Progress bars on standard error, where that is a terminal that nothing else writes to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Advance", "progress"]

Advance = Callable[[int, int], None]
"""Takes what is done and what there is to do, in the same unit."""


def _nothing(_done: int, _total: int) -> None: ...


@contextmanager
def progress(label: str, *, unit: str = "bytes", printing: bool = False) -> Iterator[Advance]:
    """A bar while the block runs, gone when it ends.

    `printing` says that the block writes to standard output meanwhile: then there is no bar
    where that is a terminal too.
    """
    if not sys.stderr.isatty() or (printing and sys.stdout.isatty()):
        yield _nothing
        return
    from rich import progress as rich

    from .tables import console

    amount = rich.DownloadColumn() if unit == "bytes" else rich.MofNCompleteColumn()
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        amount,
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
