"""WAL_READ, WAL_STATS, SNAPSHOT_INSTANCE, COMPACT, BACKUP, FLUSH_ALL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstmdb_protocol import ErrorCode, Request
from rstmdb_server.errors import RequestRefused

if TYPE_CHECKING:
    from rstmdb_server.hub import Hub
    from rstmdb_server.session import Session
    from rstmdb_storage import Answer

__all__ = ["plain", "special"]


def plain(hub: Hub) -> dict[str, tuple[Callable[[Any], Answer], bool]]:
    """The commands of this subject that are done at once."""

    def wal_stats(_params: object) -> Answer:
        # The head is told once it is released, as everything else.
        return hub.store.wal_stats(), hub.store.log.head

    def flush_all(_params: object) -> Answer:
        if not hub.config.storage.allow_flush_all:
            raise RequestRefused(
                ErrorCode.BAD_REQUEST,
                "FLUSH_ALL is switched off; it is for test set-ups, "
                "with storage.allow_flush_all: true",
            )
        return hub.store.flush_all()

    return {"WAL_STATS": (wal_stats, False), "FLUSH_ALL": (flush_all, True)}


def special() -> dict[str, Callable[[Session, Any], None]]:
    """The commands that take a while: their answers keep their place and come later."""
    return {
        "WAL_READ": _wal_read,
        "SNAPSHOT_INSTANCE": _snapshot_instance,
        "COMPACT": _compact,
        "BACKUP": _backup,
    }


def _wal_read(session: Session, request: Request) -> None:
    hub = session.hub
    params = request.params

    async def work() -> tuple[Any, int]:
        async with hub.readers:
            if session.is_gone():
                return None, 0
            page = await hub.run_blocking(hub.store.wal_read, params.from_offset, params.limit)
        return page, 0

    hub.answer_later(session, request, work, alone=True)


def _snapshot_instance(session: Session, request: Request) -> None:
    hub = session.hub
    procedure = hub.store.snapshot_instance(request.params.instance_id)

    async def work() -> tuple[Any, int]:
        return await hub.run_procedure(procedure), 0

    hub.answer_later(session, request, work)


def _compact(session: Session, request: Request) -> None:
    hub = session.hub
    force = bool(request.params.force_snapshot)

    async def work() -> tuple[Any, int]:
        return await hub.compact(force_snapshot=force), 0

    hub.answer_later(session, request, work)


def _backup(session: Session, request: Request) -> None:
    hub = session.hub
    directory = hub.config.storage.backup_dir
    if directory is None:
        raise RequestRefused(ErrorCode.BAD_REQUEST, "BACKUP needs a place: set storage.backup_dir")
    name = request.params.name
    if name is None:
        name = time.strftime("backup-%Y%m%dT%H%M%SZ", time.gmtime())
    procedure = hub.store.backup(Path(directory), name)

    async def work() -> tuple[Any, int]:
        return await hub.run_procedure(procedure), 0

    hub.answer_later(session, request, work)
