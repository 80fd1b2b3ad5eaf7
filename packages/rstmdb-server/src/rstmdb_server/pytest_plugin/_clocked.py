"""The server as it is, but by a clock that a test moves: `python -m` this, options as ever."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from rstmdb_server import server
from rstmdb_server.main import main

from ._clock import Clock
from ._running import CLOCK_VARIABLE

__all__: list[str] = []

if __name__ == "__main__":
    clock = Clock(Path(os.environ.pop(CLOCK_VARIABLE)))
    module: Any = server
    open_store = module.open_store

    def open_clocked(*arguments: Any, **options: Any) -> Any:
        """As open_store, with the test's clock."""
        return open_store(*arguments, **{**options, "clock": clock})

    module.open_store = open_clocked
    sys.exit(main(prog_name="rstmdb-server"))
