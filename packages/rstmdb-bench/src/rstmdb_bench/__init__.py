"""rstmdb-bench, a closed-loop load generator for RCP servers."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("rstmdb-bench")
