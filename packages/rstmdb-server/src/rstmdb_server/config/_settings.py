"""The settings as the rest of the server reads them: frozen, complete, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct, field

from rstmdb_storage import FsyncPolicy

from ._values import split_address

__all__ = [
    "AuthConfig",
    "CompactionConfig",
    "Config",
    "IdempotencyConfig",
    "LimitsConfig",
    "LoggingConfig",
    "MetricsConfig",
    "NetworkConfig",
    "Sources",
    "StorageConfig",
    "TlsConfig",
    "TracingConfig",
]


class NetworkConfig(Struct, frozen=True, kw_only=True):
    """The protocol's listener; `bind_addr` is host:port, port 0 takes any free one."""

    bind_addr: str = "127.0.0.1:7401"
    idle_timeout_secs: int = 300
    max_connections: int = 1000

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `bind_addr`."""
        return split_address(self.bind_addr)


class StorageConfig(Struct, frozen=True, kw_only=True):
    """The data directory and its log; 0 means no limit, or never compress."""

    data_dir: Path = Path("data")
    wal_segment_size_mb: int = 64
    fsync_policy: FsyncPolicy = field(default_factory=FsyncPolicy.every_write)
    max_machine_versions: int = 0
    allow_flush_all: bool = False
    recovery: Literal["strict", "skip_corrupt"] = "strict"
    backup_dir: Path | None = None
    compress_from_bytes: int = 4096


class IdempotencyConfig(Struct, frozen=True, kw_only=True):
    """How long and how many answers are remembered for repeated requests."""

    retention_secs: int = 86_400
    max_keys: int = 1_000_000
    max_bytes: int = 268_435_456


class LimitsConfig(Struct, frozen=True, kw_only=True):
    """What one client may ask for; `max_buffered_bytes` is for all connections together.

    `requests_per_second` is per connection, 0 for no limit.
    """

    max_ctx_bytes: int = 1_048_576
    max_batch_ops: int = 100
    max_inflight: int = 1000
    max_subscriptions: int = 1000
    max_buffered_bytes: int = 268_435_456
    requests_per_second: int = 0
    handshake_timeout_secs: int = 10
    write_timeout_secs: int = 300


class AuthConfig(Struct, frozen=True, kw_only=True):
    """Whether AUTH is needed, and the SHA-256 hashes (hexadecimal, lower case) of its tokens."""

    required: bool = False
    token_hashes: tuple[str, ...] = ()
    secrets_file: Path | None = None


class TlsConfig(Struct, frozen=True, kw_only=True):
    """Certificate chain and key in PEM, and whose certificates clients must or may show."""

    enabled: bool = False
    cert_path: Path | None = None
    key_path: Path | None = None
    require_client_cert: bool = False
    client_ca_path: Path | None = None


class CompactionConfig(Struct, frozen=True, kw_only=True):
    """When the log is compacted without being asked."""

    enabled: bool = True
    events_threshold: int = 10_000
    size_threshold_mb: int = 100
    min_interval_secs: int = 60
    max_watch_lag_mb: int = 1024


class MetricsConfig(Struct, frozen=True, kw_only=True):
    """The HTTP listener for metrics and health; `bind_addr` is host:port."""

    enabled: bool = False
    bind_addr: str = "127.0.0.1:9090"


class TracingConfig(Struct, frozen=True, kw_only=True):
    """OpenTelemetry spans; where they go is said by OpenTelemetry's own variables."""

    enabled: bool = False


class LoggingConfig(Struct, frozen=True, kw_only=True):
    """The log on standard error; `auto` is pretty on a terminal and JSON elsewhere."""

    level: Literal["trace", "debug", "info", "warn", "error", "off"] = "info"
    format: Literal["auto", "json", "pretty"] = "auto"


class Sources(NamedTuple):
    """Where a configuration came from; `environ` holds the server's own variables only."""

    path: Path | None = None
    environ: Mapping[str, str] = {}
    overrides: Mapping[str, object] = {}


class Config(Struct, frozen=True, kw_only=True):
    """All settings; `warnings` is what the user should hear about at the start."""

    network: NetworkConfig = NetworkConfig()
    storage: StorageConfig = StorageConfig()
    idempotency: IdempotencyConfig = IdempotencyConfig()
    limits: LimitsConfig = LimitsConfig()
    auth: AuthConfig = AuthConfig()
    tls: TlsConfig = TlsConfig()
    compaction: CompactionConfig = CompactionConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()
    logging: LoggingConfig = LoggingConfig()
    warnings: tuple[str, ...] = ()
    sources: Sources = Sources()
