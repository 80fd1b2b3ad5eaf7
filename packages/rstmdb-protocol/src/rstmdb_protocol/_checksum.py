"""CRC32C (Castagnoli, RFC 3720), from the package crc32c but not through its front door.

That package's `__init__` imports its command line and importlib.metadata, which takes longer
than all else that a short-lived client needs (docs/decisions/0006-start-up.md). The function
itself lives in its extension module, which is loaded by itself here. Where that is not to be
found, the package is imported as usual: the function is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

__all__ = ["crc32c"]


def _load() -> Callable[..., int]:
    """The function, from the extension module alone if there is one."""
    package = PathFinder.find_spec("crc32c")
    folders = None if package is None else package.submodule_search_locations
    extension = None if folders is None else PathFinder.find_spec("_crc32c", list(folders))
    if extension is None or extension.loader is None:
        from crc32c import crc32c as function

        return function
    module = module_from_spec(extension)
    extension.loader.exec_module(module)
    loaded: Callable[..., int] = module.crc32c
    return loaded


crc32c = _load()
"""The checksum of bytes, 0 to 2^32 - 1; a second argument is that of the bytes before them."""
