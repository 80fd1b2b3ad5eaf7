"""A live view of a server: what happens, how often, and where instances stand."""

from .traffic import Row, Sample, Traffic

__all__ = ["Row", "Sample", "Traffic"]
