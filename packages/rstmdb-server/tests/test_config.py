import re
from pathlib import Path
from typing import Any

import pytest

from rstmdb_server.config import SETTINGS, Config, ConfigError, load_config, reload_config
from rstmdb_storage import FsyncPolicy

HASH = "ab" * 32
OTHER = "cd" * 32

# For each key: what may stand in the file, the same as a variable's text, and its meaning.
EXAMPLES: dict[str, tuple[str, str, object]] = {
    "network.bind_addr": ("0.0.0.0:80", "0.0.0.0:80", "0.0.0.0:80"),
    "network.idle_timeout_secs": ("7", "7", 7),
    "network.max_connections": ("7", "7", 7),
    "storage.data_dir": ("/srv/x", "/srv/x", Path("/srv/x")),
    "storage.wal_segment_size_mb": ("7", "7", 7),
    "storage.fsync_policy": ("{every_n: 100}", "every_n:100", FsyncPolicy.every_n(100)),
    "storage.max_machine_versions": ("7", "7", 7),
    "storage.allow_flush_all": ("true", "true", True),
    "storage.recovery": ("skip_corrupt", "skip_corrupt", "skip_corrupt"),
    "storage.backup_dir": ("/srv/b", "/srv/b", Path("/srv/b")),
    "storage.compress_from_bytes": ("0", "0", 0),
    "idempotency.retention_secs": ("7", "7", 7),
    "idempotency.max_keys": ("7", "7", 7),
    "idempotency.max_bytes": ("7000000000", "7000000000", 7_000_000_000),
    "limits.max_ctx_bytes": ("7", "7", 7),
    "limits.max_batch_ops": ("7", "7", 7),
    "limits.max_inflight": ("7", "7", 7),
    "limits.max_subscriptions": ("7", "7", 7),
    "limits.max_buffered_bytes": ("7000000000", "7000000000", 7_000_000_000),
    "limits.requests_per_second": ("7", "7", 7),
    "limits.handshake_timeout_secs": ("7", "7", 7),
    "limits.write_timeout_secs": ("7", "7", 7),
    "auth.required": ("true", "true", True),
    "auth.token_hashes": (f"[{HASH}]", HASH, (HASH,)),
    "auth.secrets_file": ("/etc/s", "/etc/s", Path("/etc/s")),
    "tls.enabled": ("true", "true", True),
    "tls.cert_path": ("/etc/c", "/etc/c", Path("/etc/c")),
    "tls.key_path": ("/etc/k", "/etc/k", Path("/etc/k")),
    "tls.require_client_cert": ("true", "true", True),
    "tls.client_ca_path": ("/etc/a", "/etc/a", Path("/etc/a")),
    "compaction.enabled": ("false", "false", False),
    "compaction.events_threshold": ("7", "7", 7),
    "compaction.size_threshold_mb": ("7", "7", 7),
    "compaction.min_interval_secs": ("0", "0", 0),
    "compaction.max_watch_lag_mb": ("7", "7", 7),
    "metrics.enabled": ("true", "true", True),
    "metrics.bind_addr": ("'[::1]:9'", "[::1]:9", "[::1]:9"),
    "tracing.enabled": ("true", "true", True),
    "logging.level": ("debug", "debug", "debug"),
    "logging.format": ("pretty", "pretty", "pretty"),
}


def value_of(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def write(folder: Path, text: str) -> Path:
    file = folder / "rstmdb.yaml"
    file.write_text(text)
    return file


def one_key(folder: Path, key: str, text: str) -> Path:
    section, _, name = key.partition(".")
    return write(folder, f"{section}:\n  {name}: {text}\n")


def refusal(path: Path | None, environ: dict[str, str] | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ or {}, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_given_gives_the_defaults() -> None:
    assert load_config(None, {}, {}) == Config()


def test_an_empty_file_and_empty_sections_give_the_defaults(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "auth:\nnetwork: {}\n"):
        config = load_config(write(tmp_path, text), {}, {})
        assert config.network == Config().network
        assert config.auth == Config().auth


def test_every_setting_has_an_example_here_and_a_field_with_another_default() -> None:
    assert list(EXAMPLES) == list(SETTINGS)
    for key, (_, _, meaning) in EXAMPLES.items():
        assert value_of(Config(), key) != meaning


@pytest.mark.parametrize("key", EXAMPLES)
def test_every_key_is_read_from_the_file(key: str, tmp_path: Path) -> None:
    in_file, _, meaning = EXAMPLES[key]
    config = load_config(one_key(tmp_path, key, in_file), {}, {})
    assert value_of(config, key) == meaning
    assert type(value_of(config, key)) is type(meaning)
    assert config.warnings == ()


@pytest.mark.parametrize("key", EXAMPLES)
def test_every_key_is_read_from_its_variable(key: str) -> None:
    _, text, meaning = EXAMPLES[key]
    config = load_config(None, {SETTINGS[key].variable: text}, {})
    assert value_of(config, key) == meaning


def test_the_readme_lists_every_setting_with_its_variable_and_default() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+\.\w+)` \| `(\w+)` \| `?([^`|]*?)`? \|", readme, re.MULTILINE)
    assert [(key, variable) for key, variable, _ in rows] == [
        (setting.key, setting.variable) for setting in SETTINGS.values()
    ]
    for key, _, text in rows:
        default = value_of(Config(), key)
        if default in (None, ()):
            assert text in ("none", "[]")
        else:
            assert SETTINGS[key].parse(text) == default


def test_the_command_line_wins_over_variables_and_those_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "network:\n  bind_addr: a:1\nstorage:\n  data_dir: from-file\n")
    config = load_config(
        file, {"RSTMDB_BIND": "b:2", "RSTMDB_MAX_CONNECTIONS": "5"}, {"network.bind_addr": "c:3"}
    )
    assert config.network.bind_addr == "c:3"
    assert config.network.address == ("c", 3)
    assert config.network.max_connections == 5
    assert config.storage.data_dir == Path("from-file")
    assert load_config(file, {"RSTMDB_BIND": "b:2"}, {}).network.bind_addr == "b:2"


def test_the_variable_for_a_token_hash_adds_to_the_files(tmp_path: Path) -> None:
    file = one_key(tmp_path, "auth.token_hashes", f"[{HASH.upper()}]")
    config = load_config(file, {"RSTMDB_AUTH_TOKEN_HASH": OTHER}, {})
    assert config.auth.token_hashes == (HASH, OTHER)


def test_reloading_reads_the_same_sources_again(tmp_path: Path) -> None:
    file = one_key(tmp_path, "logging.level", "info")
    config = load_config(file, {"RSTMDB_BIND": "b:2", "HOME": "/root"}, {"storage.data_dir": "d"})
    assert config.sources.environ == {"RSTMDB_BIND": "b:2"}
    one_key(tmp_path, "logging.level", "debug")
    again = reload_config(config)
    assert again.logging.level == "debug"
    assert again.network == config.network
    assert again.storage == config.storage


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("every_write", FsyncPolicy.every_write()),
        ("never", FsyncPolicy.never()),
        ("{every_ms: 50}", FsyncPolicy.every_ms(50)),
        ("every_ms:50", FsyncPolicy.every_ms(50)),
        ("\n    every_n: 3", FsyncPolicy.every_n(3)),
    ],
)
def test_each_way_to_write_an_fsync_policy(text: str, policy: object, tmp_path: Path) -> None:
    config = load_config(one_key(tmp_path, "storage.fsync_policy", text), {}, {})
    assert config.storage.fsync_policy == policy


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("on", True), ("yes", True), ("'1'", True), ("off", False), ("No", False), ("FALSE", False)],
)
def test_all_words_for_true_and_false_are_understood(
    text: str, meaning: bool, tmp_path: Path
) -> None:
    config = load_config(one_key(tmp_path, "auth.required", text), {}, {})
    assert config.auth.required is meaning


def test_words_that_yaml_takes_for_something_else_stay_what_they_are(tmp_path: Path) -> None:
    file = write(tmp_path, "storage:\n  data_dir: on\n  backup_dir: 2024-01-01\n")
    config = load_config(file, {}, {})
    assert config.storage.data_dir == Path("on")
    assert config.storage.backup_dir == Path("2024-01-01")
    assert "'12:30' is not a whole number" in refusal(
        one_key(tmp_path, "network.idle_timeout_secs", "12:30")
    )
    assert "'010' is not a whole number" in refusal(
        one_key(tmp_path, "network.idle_timeout_secs", "010")
    )
    assert load_config(one_key(tmp_path, "logging.level", "off"), {}, {}).logging.level == "off"


def test_a_wire_mode_is_accepted_with_a_warning(tmp_path: Path) -> None:
    file = one_key(tmp_path, "network.wire_mode", "jsonl")
    (warning,) = load_config(file, {}, {}).warnings
    assert warning.startswith(f"{file}:2: network.wire_mode has no effect")


@pytest.mark.parametrize(
    ("rust_log", "meaning"),
    [
        ("debug", "debug"),
        ("rstmdb=debug", "debug"),
        ("warn,rstmdb_server=TRACE,hyper=info", "trace"),
        ("hyper=error,warn", "warn"),
        ("loud,rstmdb=louder,error", "error"),
    ],
)
def test_rust_log_gives_a_level(rust_log: str, meaning: str) -> None:
    assert load_config(None, {"RUST_LOG": rust_log}, {}).logging.level == meaning


def test_rust_log_yields_to_the_servers_own_variable_and_beats_the_file(tmp_path: Path) -> None:
    file = one_key(tmp_path, "logging.level", "error")
    environ = {"RUST_LOG": "debug", "RSTMDB_LOG_LEVEL": "warning"}
    assert load_config(file, environ, {}).logging.level == "warn"
    assert load_config(file, {"RUST_LOG": "debug"}, {}).logging.level == "debug"
    ignored = load_config(file, {"RUST_LOG": "hyper=debug"}, {})
    assert ignored.logging.level == "error"
    assert ignored.warnings[0].startswith("RUST_LOG: 'hyper=debug'")


def test_a_misspelt_variable_costs_a_warning_and_a_foreign_one_nothing() -> None:
    environ = {"RSTMDB_BIND_ADR": "x", "RSTMDB_BINDD": "x", "RSTMDB_TOKEN": "s3cret"}
    warnings = load_config(None, environ, {}).warnings
    assert "the variable RSTMDB_BINDD is not known; did you mean RSTMDB_BIND?" in warnings
    assert "s3cret" not in str(warnings)


BAD_VALUES = [
    ("network.bind_addr", "nowhere", "'nowhere' is not an address host:port"),
    ("network.bind_addr", "host:65536", "0 to 65535"),
    ("network.bind_addr", "'::1:80'", "IPv6 host in brackets"),
    ("network.bind_addr", "':80'", "is not an address"),
    ("network.idle_timeout_secs", "0", "0 is not a whole number from 1 to 2147483647"),
    ("network.idle_timeout_secs", "soon", "'soon' is not a whole number"),
    ("network.idle_timeout_secs", "1.5", "'1.5' is not a whole number"),
    ("network.idle_timeout_secs", "true", "True is not a whole number"),
    ("network.idle_timeout_secs", "", "nothing is not a whole number"),
    ("network.max_connections", "-3", "-3 is not a whole number"),
    ("storage.wal_segment_size_mb", "524289", "from 1 to 524288"),
    ("storage.data_dir", "''", "'' is not a path"),
    ("storage.fsync_policy", "often", "'often' is not one of every_write"),
    ("storage.fsync_policy", "{every_n: 0}", "with N from 1"),
    ("storage.fsync_policy", "{every_n: 1, every_ms: 2}", "is not one of every_write"),
    ("storage.fsync_policy", "every_n:9999999999", "with N from 1"),
    ("storage.recovery", "lax", "'lax' is not one of strict, skip_corrupt"),
    ("limits.max_ctx_bytes", "16777217", "from 1 to 16777216"),
    ("auth.required", "maybe", "'maybe' is not true or false"),
    ("auth.required", "2", "2 is not true or false"),
    ("logging.level", "loud", "'loud' is not one of trace, debug, info, warn, error, off"),
    ("logging.format", "xml", "'xml' is not one of auto, json, pretty"),
    ("tls.cert_path", "[a]", "['a'] is not a path"),
]


@pytest.mark.parametrize(("key", "text", "part"), BAD_VALUES)
def test_a_bad_value_is_refused_with_file_line_key_value_and_what_is_allowed(
    key: str, text: str, part: str, tmp_path: Path
) -> None:
    file = one_key(tmp_path, key, text)
    message = refusal(file)
    assert message.startswith(f"{file}:2: {key}: ")
    assert part in message


def test_a_bad_variable_is_refused_by_its_name() -> None:
    message = refusal(None, {"RSTMDB_MAX_CONNECTIONS": "many"})
    assert message == (
        "RSTMDB_MAX_CONNECTIONS: network.max_connections: 'many' is not a whole number "
        "from 1 to 2147483647"
    )


def test_a_bad_or_unknown_override_is_refused() -> None:
    assert refusal(None, {}, **{"network.bind_addr": "x"}).startswith(
        "command line: network.bind_addr: 'x'"
    )
    assert "unknown key 'storage.dir'" in refusal(None, {}, **{"storage.dir": "x"})


@pytest.mark.parametrize("value", ["hunter2", ["hunter2"], {"hunter2": 1}])
def test_what_stands_in_the_place_of_a_token_hash_is_never_shown(
    value: object, tmp_path: Path
) -> None:
    message = refusal(one_key(tmp_path, "auth.token_hashes", str(value)))
    assert "auth.token_hashes: the value is not" in message
    assert "hunter2" not in message
    assert "hunter2" not in refusal(None, {"RSTMDB_AUTH_TOKEN_HASH": "hunter2"})


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (
            "network:\n  bind_adr: x\n",
            2,
            ("'network.bind_adr'", "did you mean 'network.bind_addr'"),
        ),
        ("storage:\n\n  bind_addr: x\n", 3, ("'storage.bind_addr'", "'network.bind_addr'")),
        ("netwrok:\n  bind_addr: x\n", 1, ("'netwrok'", "did you mean 'network'")),
        ("data_dir: x\n", 1, ("'data_dir'", "did you mean 'storage.data_dir'")),
        ("qqq: 1\n", 1, ("'qqq'", "known are network, storage,")),
        ("auth:\n  zzzzzzzz: 1\n", 2, ("known are auth.required, auth.token_hashes",)),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    text: str, line: int, parts: tuple[str, ...], tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    message = refusal(file)
    assert message.startswith(f"{file}:{line}: unknown key ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("auth:\n  required: true\n  required: false\n", 3, "'required' stands twice, first in"),
        ("auth: {}\nauth: {}\n", 2, "'auth' stands twice, first in line 1"),
        ("auth: [\n", 2, "no valid YAML"),
        ("a: b: c\n", 1, "no valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "no valid YAML"),
        ("- 1\n", 1, "the file must hold keys with values, not [1]"),
        ("auth: yes\n", 1, "auth must hold keys with values, not 'yes'"),
        ("? [a]\n: b\n", 1, "a key must be a plain word"),
        ("auth: &a\n  required: *a\n", 1, "nested too deeply"),
        ("auth:\n  required: !!python/name:os.system\n", 2, "can't be tagged"),
        ("network:\n  max_connections: !!int '0x10'\n", 2, "can't be tagged 'int'"),
    ],
)
def test_broken_yaml_is_refused_with_its_line(
    text: str, line: int, part: str, tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    message = refusal(file)
    assert message.startswith(f"{file}:{line}: ")
    assert part in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "can't be read: No such file" in refusal(tmp_path / "none.yaml")
    assert "can't be read: Is a directory" in refusal(tmp_path)
    file = tmp_path / "latin"
    file.write_bytes(b"auth: \xff")
    assert "is not UTF-8 text (byte 6)" in refusal(file)
    file.write_bytes(b"auth: \x07")
    assert refusal(file) == f"{file}:1: no valid YAML: special characters are not allowed"


def test_a_long_value_is_shown_in_part(tmp_path: Path) -> None:
    assert len(refusal(one_key(tmp_path, "logging.level", "x" * 10_000))) < 400
