"""The rstmdb server: RCP over TCP, sessions, live subscriptions, configuration."""

from importlib.metadata import version

__all__ = ["SERVER_NAME", "__version__"]

SERVER_NAME = "rstmdb"
__version__ = version("rstmdb-server")
