"""rstmdb-cli, the command line of rstmdb."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("rstmdb-cli")
