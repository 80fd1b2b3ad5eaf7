import os
from pathlib import Path

import pytest
import trustme

from rstmdb_server.auth import hash_token
from rstmdb_server.config import AuthConfig, Config, ConfigError, StorageConfig, TlsConfig
from rstmdb_server.config.check import check


def refusal(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config)
    return str(caught.value)


def test_a_working_configuration_passes_and_nothing_is_created(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    before = sorted(tmp_path.rglob("*"))
    check(
        Config(
            storage=StorageConfig(data_dir=tmp_path / "a" / "b", backup_dir=tmp_path / "c"),
            auth=AuthConfig(required=True, token_hashes=(hash_token("t"),)),
            tls=TlsConfig(
                enabled=True, cert_path=tmp_path / "cert.pem", key_path=tmp_path / "key.pem"
            ),
        )
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_auth_without_a_token_is_refused(tmp_path: Path) -> None:
    message = refusal(Config(auth=AuthConfig(required=True)))
    assert message.startswith("auth.required: no token is configured")
    empty = tmp_path / "secrets"
    empty.write_text("# none yet\n")
    assert "no token" in refusal(Config(auth=AuthConfig(required=True, secrets_file=empty)))


def test_tls_without_its_files_is_refused(tmp_path: Path) -> None:
    assert refusal(Config(tls=TlsConfig(enabled=True))).startswith("tls.cert_path: must be set")
    check(Config(tls=TlsConfig(enabled=False, cert_path=tmp_path / "none")))


def test_a_data_directory_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        message = refusal(Config(storage=StorageConfig(data_dir=path)))
        assert message == f"storage.data_dir: {tmp_path / 'file'} is not a directory"
    message = refusal(
        Config(storage=StorageConfig(data_dir=tmp_path, backup_dir=tmp_path / "file"))
    )
    assert message.startswith("storage.backup_dir: ")


def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For the superuser every directory is writable, so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    for path in (tmp_path, tmp_path / "to" / "be" / "made"):
        message = refusal(Config(storage=StorageConfig(data_dir=path)))
        assert message.startswith(f"storage.data_dir: {tmp_path} can't be written by user ")
