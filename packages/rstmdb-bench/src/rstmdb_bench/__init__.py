"""rstmdb-bench, a load generator for RCP servers: closed and open loops, floors, reports."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("rstmdb-bench")
