"""The guard language: text to tree (_parse), tree to closure (_compile)."""

from ._compile import Guard, compile_guard
from ._parse import And, Compare, Field, Node, Not, Or, parse_guard

__all__ = [
    "And",
    "Compare",
    "Field",
    "Guard",
    "Node",
    "Not",
    "Or",
    "compile_guard",
    "parse_guard",
]
