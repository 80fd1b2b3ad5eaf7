"""The life of a server: recover, listen, serve, stop without losing anything."""

from __future__ import annotations

import gc
import logging
import signal
import ssl
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream

from rstmdb_storage import (
    CompactionOptions,
    EngineOptions,
    Limits,
    LogOptions,
    StorageOptions,
    Store,
    WriteFailed,
    open_store,
)

from . import __version__, systemd
from .auth import TokenSet
from .committer import current_event_loop, runs_on_asyncio
from .config import Config, ConfigError, reload_config
from .housekeeping import Housekeeper
from .hub import Hub, Job
from .logs import set_level
from .metrics import Gauges, Metrics
from .observation import Observation
from .tls import make_ssl_context, reload_ssl_context
from .transport import Listener
from .transport.callback import CallbackListener
from .transport.streams import StreamListener

__all__ = ["serve", "storage_options"]

logger = logging.getLogger("rstmdb.server")

STOP_DEADLINE_SECS = 10.0


def storage_options(config: Config) -> StorageOptions:
    """What the embedded database is told, from the server's settings."""
    storage, compaction, idempotency = config.storage, config.compaction, config.idempotency
    return StorageOptions(
        log=LogOptions(
            segment_bytes=storage.wal_segment_size_mb << 20,
            policy=storage.fsync_policy,
            compress_from_bytes=storage.compress_from_bytes,
            recovery=storage.recovery,
        ),
        engine=EngineOptions(
            max_ctx_bytes=config.limits.max_ctx_bytes,
            max_machine_versions=storage.max_machine_versions,
        ),
        limits=Limits(
            idempotency_retention_ms=idempotency.retention_secs * 1000,
            idempotency_max_keys=idempotency.max_keys,
            idempotency_max_bytes=idempotency.max_bytes,
        ),
        compaction=CompactionOptions(
            enabled=compaction.enabled,
            events_threshold=compaction.events_threshold,
            size_threshold_bytes=compaction.size_threshold_mb << 20,
            min_interval_ms=compaction.min_interval_secs * 1000,
            max_watch_lag_bytes=compaction.max_watch_lag_mb << 20,
        ),
    )


def _open(config: Config) -> tuple[Store, Callable[[], None]]:
    store, unlock = open_store(
        config.storage.data_dir,
        storage_options(config),
        fs=None,
        clock=lambda: time.time_ns() // 1_000_000,
        monotonic=lambda: time.monotonic_ns() // 1_000_000,
        new_id=lambda: str(uuid.uuid4()),
    )
    recovered = store.recovered
    report = recovered.report
    logger.info(
        "recovered %d entries, %d machines, %d instances in %.3f s",
        report.records,
        store.state.machine_count,
        len(store.state.instances),
        recovered.seconds,
    )
    if report.torn_bytes:
        logger.warning(
            "cut %d bytes of a torn write off the log; kept in %s",
            report.torn_bytes,
            report.broken_file,
        )
    return store, unlock


async def serve(config: Config, *, streams: bool | None = None) -> int:
    """Run until a signal stops the server; the process's exit code.

    `streams` chooses anyio streams over asyncio's protocol callbacks, which cost a third of
    the CPU and are the default where there are any. Raises ConfigError, StorageError and
    OSError for what keeps it from starting.
    """
    if streams is None:
        streams = not runs_on_asyncio()
    logger.info("rstmdb-server %s", __version__)
    logger.info("data directory %s, fsync %s", config.storage.data_dir, config.storage.fsync_policy)
    tokens = TokenSet(config.auth)
    ssl_context = make_ssl_context(config.tls) if config.tls.enabled else None
    metrics = Metrics()
    front = _Front(metrics)
    async with anyio.create_task_group() as tasks:
        if config.metrics.enabled:
            await tasks.start(front.serve_http, config.metrics.bind_addr)
        store, unlock = await _recover(config, metrics)
        send, receive = anyio.create_memory_object_stream[Job](float("inf"))
        front.hub = hub = Hub(config, store, metrics, current_event_loop(), send, tokens)
        observation = Observation(hub)
        try:
            async with send, receive:
                tasks.start_soon(_run_jobs, receive)
                await Server(hub, tasks, ssl_context, observation, streams=streams).run()
                tasks.cancel_scope.cancel()
        finally:
            code = _shut(hub, unlock)
            observation.close()
    return code


async def _recover(config: Config, metrics: Metrics) -> tuple[Store, Callable[[], None]]:
    """Open the database on a thread, so that health checks are answered meanwhile."""
    # Recovery builds what lives as long as the server: no collection needs to look at it,
    # neither while it grows nor later.
    gc.disable()
    store, unlock = await anyio.to_thread.run_sync(_open, config)
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 500, 1000)
    sys.setswitchinterval(0.0001)  # threads that read the log give way to the event loop sooner
    metrics.recovery_seconds = store.recovered.seconds
    return store, unlock


class _Front:
    """What health checks and scrapes see, from before recovery to the end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.hub: Hub | None = None

    def gauges(self) -> Gauges:
        """Sizes as they are now; none while the database is being recovered."""
        return Gauges() if self.hub is None else self.hub.gauges()

    def readiness(self) -> tuple[bool, str]:
        """Whether the server takes writes, and why not."""
        if self.hub is None:
            return False, "the database is being recovered"
        return self.hub.readiness()

    async def serve_http(self, bind: str, *, task_status: TaskStatus[None]) -> None:
        """Serve metrics and health until cancelled. Raises OSError where it can't listen."""
        from .http import make_app, serve_http  # costs 100 ms that only metrics need

        def started(address: str) -> None:
            logger.info("metrics on http://%s/metrics", address)
            task_status.started()

        app = make_app(self._metrics, self.gauges, self.readiness)
        await serve_http(bind, app, started=started)


def _shut(hub: Hub, unlock: Callable[[], None]) -> int:
    """Sync, checkpoint, unlock; the exit code tells whether all of that worked."""
    hub.committer.stop()
    try:
        hub.store.close()
    except WriteFailed as error:
        logger.error("the log was not closed cleanly: %s", error)
        return 1
    finally:
        unlock()
    logger.info("stopped")
    return 0 if hub.store.log.failed is None else 1


async def _run_jobs(jobs: MemoryObjectReceiveStream[Job]) -> None:
    """Run what callbacks asked for, each job as a task of its own."""
    async with anyio.create_task_group() as group:
        async for function, args in jobs:
            group.start_soon(_guarded, function, args)


async def _guarded(function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
    try:
        await function(*args)
    except Exception:
        logger.exception("background work failed")


class Server:
    """The listeners and everything that runs beside the sessions."""

    def __init__(
        self,
        hub: Hub,
        tasks: TaskGroup,
        ssl_context: ssl.SSLContext | None,
        observation: Observation,
        *,
        streams: bool,
    ) -> None:
        self._hub = hub
        self._observation = observation
        self._tasks = tasks
        self._ssl_context = ssl_context
        self._streams = streams
        self._listener: Listener | None = None

    async def run(self) -> None:
        """Listen, serve, and return when a signal has asked to stop and all has drained."""
        # Signals first: whoever sees the server listen may stop it at once.
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            await self._listen()
            async for signum in signals:
                if signum == signal.SIGHUP:
                    self._reload()
                    continue
                logger.info("stopping on %s", signal.Signals(signum).name)
                break
            systemd.notify("STOPPING=1")
            self._tasks.start_soon(self._exit_on_second_signal, signals)
            await self._drain()

    async def _listen(self) -> None:
        hub = self._hub
        network = hub.config.network
        host, port = network.address
        if self._streams:
            self._listener = await StreamListener.start(
                hub, self._tasks, host, port, self._ssl_context
            )
        else:
            self._listener = await CallbackListener.start(hub, host, port, self._ssl_context)
        for address in self._listener.addresses:
            logger.info("listening on %s%s", address, " (TLS)" if self._ssl_context else "")
        self._tasks.start_soon(Housekeeper(hub).run)
        if hub.config.storage.fsync_policy.kind == "every_ms":
            self._tasks.start_soon(self._sync_in_time, hub.config.storage.fsync_policy.n)
        systemd.notify("READY=1")

    async def _exit_on_second_signal(self, signals: Any) -> None:
        async for signum in signals:
            if signum != signal.SIGHUP:
                logger.warning("second signal: exiting at once")
                logging.shutdown()
                signal.signal(signum, signal.SIG_DFL)
                signal.raise_signal(signum)

    async def _drain(self) -> None:
        """Let requests in flight finish, tell watchers, close connections."""
        hub = self._hub
        hub.stopping = True
        if self._listener is not None:
            await self._listener.stop()
        hub.subscriptions.end_all("server_stopping")
        with anyio.move_on_after(STOP_DEADLINE_SECS):
            while hub.committer.busy or any(s.has_pending for s in hub.sessions):  # noqa: ASYNC110 (once, at the end)
                await anyio.sleep(0.005)
        for session in list(hub.sessions):
            session.close()
            session.flush()
        with anyio.move_on_after(1.0):
            while hub.sessions:  # noqa: ASYNC110 (once, at the end)
                await anyio.sleep(0.005)
        for session in list(hub.sessions):
            session.transport.abort()
        while hub.committer.busy:  # noqa: ASYNC110 (once, at the end)
            await anyio.sleep(0.001)

    def _reload(self) -> None:
        """SIGHUP: tokens, certificates and the log level."""
        try:
            config = reload_config(self._hub.config)
            tokens = TokenSet(config.auth)
            if self._ssl_context is not None:
                reload_ssl_context(self._ssl_context, config.tls)
            self._hub.tokens = tokens  # last, so that all is taken up or nothing
            set_level(config.logging)
            self._observation.renew()
        except (OSError, ConfigError) as error:
            logger.error("not reloaded, going on as before: %s", error)
        else:
            logger.info("reloaded tokens, certificates and log level")

    async def _sync_in_time(self, every_ms: int) -> None:
        """Under every_ms: sync also when traffic stops."""
        log = self._hub.store.log
        pause_ms = min(5, every_ms / 4)
        while log.failed is None:
            await anyio.sleep(pause_ms / 1000)
            due_ms = log.sync_due_ms()
            # Before the next look at the clock no record may come of age unseen.
            if due_ms is not None and due_ms <= self._hub.store.monotonic() + pause_ms:
                self._hub.commit_soon(force_sync=True)
