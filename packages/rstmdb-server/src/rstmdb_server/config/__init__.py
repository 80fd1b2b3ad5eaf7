"""The server's settings: one table of keys, variables and defaults, and where they come from."""

from ._errors import ConfigError
from ._load import load_config, reload_config
from ._settings import (
    AuthConfig,
    CompactionConfig,
    Config,
    IdempotencyConfig,
    LimitsConfig,
    LoggingConfig,
    MetricsConfig,
    NetworkConfig,
    Sources,
    StorageConfig,
    TlsConfig,
    TracingConfig,
)
from ._table import SETTINGS, Setting
from ._values import split_address

__all__ = [
    "SETTINGS",
    "AuthConfig",
    "CompactionConfig",
    "Config",
    "ConfigError",
    "IdempotencyConfig",
    "LimitsConfig",
    "LoggingConfig",
    "MetricsConfig",
    "NetworkConfig",
    "Setting",
    "Sources",
    "StorageConfig",
    "TlsConfig",
    "TracingConfig",
    "load_config",
    "reload_config",
    "split_address",
]
