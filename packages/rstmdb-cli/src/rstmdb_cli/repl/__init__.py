"""The REPL: one connection, one command a line, with completion, checks and help."""

from .loop import Repl, run

__all__ = ["Repl", "run"]
