"""The prompt: completion and checks while one types, colours, and a line that explains."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.styles import Style
from prompt_toolkit.validation import ValidationError, Validator

from .checking import first_problem, is_open
from .completer import LineCompleter
from .grammar import COMMANDS, OWN, SHORT, outline
from .history import PrivateHistory
from .words import split

if TYPE_CHECKING:
    from .loop import Repl

__all__ = ["converse"]

_STYLE = Style.from_dict(
    {
        "prompt": "ansicyan bold",
        "command": "ansigreen bold",
        "unknown": "ansired",
        "option": "ansicyan",
        "json": "ansiyellow",
        "wrong": "ansired underline",
        "bottom-toolbar": "noreverse bg:ansiblack ansigray",
        "bottom-toolbar usage": "ansiwhite bold",
        "validation-toolbar": "bg:ansired ansiwhite",
        "completion-menu.completion": "bg:#3a4046 #e6e6e6",
        "completion-menu.completion.current": "noreverse bg:#1f5f8b #ffffff bold",
        "completion-menu.meta.completion": "bg:#2c3136 #a9b2ba",
        "completion-menu.meta.completion.current": "bg:#17486a #ffffff",
    }
)


class _JsonCheck(Validator):
    def validate(self, document: Document) -> None:
        problem = first_problem(document.text)
        if problem is not None:
            raise ValidationError(cursor_position=problem.at, message=str(problem))


class _Colours(Lexer):
    """Commands, options and JSON; what is no command, and wrong JSON, in red."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        text = document.text
        styles = [""] * len(text)
        for number, word in enumerate(split(text)):
            known = word.text in SHORT or word.text in COMMANDS or word.text in OWN
            style = ""
            if number == 0:
                style = "class:command" if known else "class:unknown"
            elif word.json:
                style = "class:json"
            elif word.text.startswith("-"):
                style = "class:option"
            styles[word.start : word.end] = [style] * (word.end - word.start)
        problem = first_problem(text)
        if problem is not None and problem.at < len(text):
            styles[problem.at] = "class:wrong"
        begins = [0]
        for line in document.lines:
            begins.append(begins[-1] + len(line) + 1)

        def shown(number: int) -> StyleAndTextTuples:
            begin, end = begins[number], begins[number + 1] - 1
            return list(zip(styles[begin:end], text[begin:end], strict=True))

        return shown


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None  # Enter takes what is chosen, the next one runs the line
        elif is_open(buffer.text) and first_problem(buffer.text) is None:
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    return keys


def converse(repl: Repl, history: Path) -> None:
    """Prompt for lines and run them until quit or Ctrl-D."""
    prompt: PromptSession[str] = PromptSession(
        [("class:prompt", f"{repl.session.address()}> ")],
        multiline=True,
        prompt_continuation=lambda width, *_: " " * (width - 2) + "· ",
        history=PrivateHistory(history),
        completer=ThreadedCompleter(LineCompleter(repl.session)),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        validator=_JsonCheck(),
        validate_while_typing=True,
        lexer=_Colours(),
        key_bindings=_keys(),
        style=_STYLE,
        color_depth=_colours(),
        bottom_toolbar=lambda: _explained(prompt.default_buffer.text, repl),
    )
    while not repl.left:
        try:
            line = prompt.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            repl.run(line)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)


def _colours() -> ColorDepth | None:
    """No colours where NO_COLOR asks for none (https://no-color.org)."""
    return ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None


def _explained(line: str, repl: Repl) -> StyleAndTextTuples:
    """How the command that is being typed is used."""
    words = split(line)
    usage, text = outline(words[0].text) if words else ("", "")
    if words and words[-1].open and first_problem(line) is None:
        what = "brackets are" if words[-1].json else "quote is"
        text = f"Enter goes on in the next line until the {what} closed; Ctrl-C gives up"
    if not usage:
        text = f"{repl.session.output} · Tab completes · help · Ctrl-D leaves"
    return [("class:usage", f" {usage} "), ("", text)]
