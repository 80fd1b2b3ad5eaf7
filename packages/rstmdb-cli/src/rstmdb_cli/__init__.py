"""rstmdb-cli, the command line of rstmdb."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: importlib.metadata takes longer than a ping."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version

    return version("rstmdb-cli")
