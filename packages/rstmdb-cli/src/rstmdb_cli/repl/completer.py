"""Completion of a line: commands, options, and names that the server knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem, ShellComplete
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from rstmdb_cli.main import main
from rstmdb_cli.output import FORMATS

from .grammar import COMMANDS, OWN, SHORT, expanded, outline
from .words import Word, quoted, split

if TYPE_CHECKING:
    from rstmdb_cli.session import Session

__all__ = ["LineCompleter"]


class LineCompleter(Completer):
    """Completes as shells do, by the same functions; runs in a thread, so it may ask the server."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What can stand at the end of the text before the cursor."""
        line = document.text_before_cursor
        words = split(line)
        last = words.pop() if words and words[-1].end == len(line) else None
        incomplete = last or Word("", len(line), len(line))
        if incomplete.json:
            return
        if incomplete.text.startswith("@"):
            path = Document(incomplete.text[1:])
            yield from PathCompleter(expanduser=False).get_completions(path, complete_event)
            return
        found = _found(self._session, [word.text for word in words], incomplete.text)
        for item in found:
            yield Completion(
                quoted(item.value),
                start_position=incomplete.start - len(line),
                display=item.value,
                display_meta=item.help or "",
            )


def _found(session: Session, before: list[str], begun: str) -> list[CompletionItem[str]]:
    if not before:
        return _commands(begun)
    if before[0] == "help":
        return _commands(begun) if len(before) == 1 else []
    if before[0] == "output":
        return [CompletionItem(name) for name in FORMATS if name.startswith(begun)]
    if before[0] in OWN:
        return []
    words = expanded(before) if begun.startswith("-") else expanded([*before, "x"])[:-1]
    if words[0] not in COMMANDS:
        return []
    shell = ShellComplete(main, {"obj": session}, "", "")
    return shell.get_completions(words, begun)


def _commands(begun: str) -> list[CompletionItem[str]]:
    names = [*SHORT, *COMMANDS, *(name for name in OWN if name != "exit")]
    return [CompletionItem(name, help=outline(name)[1]) for name in names if name.startswith(begun)]
