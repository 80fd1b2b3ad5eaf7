"""The one exception of this package: what a user can act on, said in a line.

BenchError    the run could not be done: unreachable, refused, a lost connection
"""

from __future__ import annotations

__all__ = ["BenchError"]


class BenchError(Exception):
    """The run could not be done; the text says why, and what to try."""
