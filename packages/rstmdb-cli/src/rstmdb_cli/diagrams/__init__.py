"""A machine as a picture: text for Mermaid, or SVG that we lay out ourselves."""

from .mermaid import mermaid
from .svg import svg

__all__ = ["mermaid", "svg"]
