"""Every setting: its key, its variable, and how its value is read.

The defaults stand in the structs of _settings; a test compares both with the README's table.
"""

from __future__ import annotations

from typing import NamedTuple

from rstmdb_protocol import MAX_PAYLOAD_BYTES

from ._values import (
    Parser,
    address,
    boolean,
    choice,
    fsync_policy,
    integer,
    level,
    optional_path,
    path,
    token_hashes,
)

__all__ = ["ADDED_TOKEN_HASH", "IGNORED", "SECRET", "SETTINGS", "Setting"]

_MANY = 2**31 - 1
_HUGE = 2**53 - 1
_POSITIVE = integer(1, _MANY)
_FROM_ZERO = integer(0, _MANY)


class Setting(NamedTuple):
    """One row of the table; `key` is section.name."""

    key: str
    variable: str
    parse: Parser


_ALL = (
    Setting("network.bind_addr", "RSTMDB_BIND", address),
    Setting("network.idle_timeout_secs", "RSTMDB_IDLE_TIMEOUT", _POSITIVE),
    Setting("network.max_connections", "RSTMDB_MAX_CONNECTIONS", _POSITIVE),
    Setting("storage.data_dir", "RSTMDB_DATA", path),
    # The largest segment that the log's format allows is 2**39 bytes.
    Setting("storage.wal_segment_size_mb", "RSTMDB_WAL_SEGMENT_SIZE_MB", integer(1, 2**19)),
    Setting("storage.fsync_policy", "RSTMDB_FSYNC_POLICY", fsync_policy),
    Setting("storage.max_machine_versions", "RSTMDB_MAX_MACHINE_VERSIONS", _FROM_ZERO),
    Setting("storage.allow_flush_all", "RSTMDB_ALLOW_FLUSH_ALL", boolean),
    Setting("storage.recovery", "RSTMDB_RECOVERY", choice("strict", "skip_corrupt")),
    Setting("storage.backup_dir", "RSTMDB_BACKUP_DIR", optional_path),
    Setting("storage.compress_from_bytes", "RSTMDB_COMPRESS_FROM", _FROM_ZERO),
    Setting("idempotency.retention_secs", "RSTMDB_IDEMPOTENCY_RETENTION", _POSITIVE),
    Setting("idempotency.max_keys", "RSTMDB_IDEMPOTENCY_MAX_KEYS", _POSITIVE),
    Setting("idempotency.max_bytes", "RSTMDB_IDEMPOTENCY_MAX_BYTES", integer(1, _HUGE)),
    Setting("limits.max_ctx_bytes", "RSTMDB_LIMIT_MAX_CTX_BYTES", integer(1, MAX_PAYLOAD_BYTES)),
    Setting("limits.max_batch_ops", "RSTMDB_LIMIT_MAX_BATCH_OPS", _POSITIVE),
    Setting("limits.max_inflight", "RSTMDB_LIMIT_MAX_INFLIGHT", _POSITIVE),
    Setting("limits.max_subscriptions", "RSTMDB_LIMIT_MAX_SUBSCRIPTIONS", _POSITIVE),
    Setting("limits.max_buffered_bytes", "RSTMDB_LIMIT_MAX_BUFFERED_BYTES", integer(1, _HUGE)),
    Setting("limits.requests_per_second", "RSTMDB_LIMIT_REQUESTS_PER_SECOND", _FROM_ZERO),
    Setting("limits.handshake_timeout_secs", "RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS", _POSITIVE),
    Setting("limits.write_timeout_secs", "RSTMDB_LIMIT_WRITE_TIMEOUT_SECS", _POSITIVE),
    Setting("auth.required", "RSTMDB_AUTH_REQUIRED", boolean),
    Setting("auth.token_hashes", "RSTMDB_AUTH_TOKEN_HASH", token_hashes),
    Setting("auth.secrets_file", "RSTMDB_AUTH_SECRETS_FILE", optional_path),
    Setting("tls.enabled", "RSTMDB_TLS_ENABLED", boolean),
    Setting("tls.cert_path", "RSTMDB_TLS_CERT", optional_path),
    Setting("tls.key_path", "RSTMDB_TLS_KEY", optional_path),
    Setting("tls.require_client_cert", "RSTMDB_TLS_REQUIRE_CLIENT_CERT", boolean),
    Setting("tls.client_ca_path", "RSTMDB_TLS_CLIENT_CA", optional_path),
    Setting("compaction.enabled", "RSTMDB_COMPACT_ENABLED", boolean),
    Setting("compaction.events_threshold", "RSTMDB_COMPACT_EVENTS", _POSITIVE),
    Setting("compaction.size_threshold_mb", "RSTMDB_COMPACT_SIZE_MB", _POSITIVE),
    Setting("compaction.min_interval_secs", "RSTMDB_COMPACT_INTERVAL", _FROM_ZERO),
    Setting("compaction.max_watch_lag_mb", "RSTMDB_COMPACT_MAX_WATCH_LAG_MB", _POSITIVE),
    Setting("metrics.enabled", "RSTMDB_METRICS_ENABLED", boolean),
    Setting("metrics.bind_addr", "RSTMDB_METRICS_BIND", address),
    Setting("tracing.enabled", "RSTMDB_TRACING_ENABLED", boolean),
    Setting("logging.level", "RSTMDB_LOG_LEVEL", level),
    Setting("logging.format", "RSTMDB_LOG_FORMAT", choice("auto", "json", "pretty")),
)

SETTINGS: dict[str, Setting] = {setting.key: setting for setting in _ALL}
"""Every setting by its key, in the order of the documentation."""

ADDED_TOKEN_HASH = "auth.token_hashes"  # noqa: S105 (a key's name)
"""The one setting whose variable holds one element that is added to the file's list."""

SECRET = frozenset({ADDED_TOKEN_HASH})
"""Settings whose values no message repeats: someone may have put a token there."""

IGNORED = {
    "network.wire_mode": "each client negotiates its wire mode in HELLO",
}
"""Keys of the original that have no meaning here, with the reason; each costs a warning."""
