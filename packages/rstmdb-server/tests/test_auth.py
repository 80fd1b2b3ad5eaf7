import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from rstmdb_server.auth import TokenSet, hash_token
from rstmdb_server.config import AuthConfig, ConfigError


def test_a_hash_is_the_sha_256_of_the_tokens_utf_8() -> None:
    assert hash_token("tökén") == hashlib.sha256("tökén".encode()).hexdigest()


def test_configured_tokens_are_known_and_no_others(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(
        f"# operators\n\n{hash_token('one').upper()}  # first\n  {hash_token('two')}\n"
    )
    tokens = TokenSet(AuthConfig(token_hashes=(hash_token("zero"),), secrets_file=secrets))
    assert len(tokens) == 3
    assert all(tokens.verify(token) for token in ("zero", "one", "two"))
    assert not any(
        tokens.verify(token) for token in ("", "three", "ZERO", hash_token("zero"), "\ud800")
    )


def test_every_hash_is_compared_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = TokenSet(AuthConfig(token_hashes=tuple(hash_token(str(n)) for n in range(5))))
    real = hmac.compare_digest
    compared = 0

    def counting(left: Any, right: Any) -> bool:
        nonlocal compared
        compared += 1
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for token in ("0", "4", "unknown"):
        compared = 0
        tokens.verify(token)
        assert compared == 5


def test_reloading_takes_new_tokens_and_drops_old_ones(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(hash_token("old"))
    auth = AuthConfig(required=True, secrets_file=secrets)
    tokens = TokenSet(auth)
    secrets.write_text(hash_token("new"))
    tokens.reload()
    assert tokens.verify("new")
    assert not tokens.verify("old")
    tokens.reload(AuthConfig(required=True, token_hashes=(hash_token("other"),)))
    assert tokens.verify("other")
    assert not tokens.verify("new")


@pytest.mark.parametrize("content", [None, b"", b"plain-text-token\n", b"\xff"])
def test_a_reload_that_fails_leaves_the_old_tokens(content: bytes | None, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(hash_token("old"))
    tokens = TokenSet(AuthConfig(required=True, secrets_file=secrets))
    secrets.unlink()
    if content is not None:
        secrets.write_bytes(content)
    with pytest.raises(ConfigError):
        tokens.reload()
    assert tokens.verify("old")


def test_a_line_that_is_no_hash_is_named_and_not_shown(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{hash_token('a')}\nhunter2\n")
    with pytest.raises(ConfigError) as caught:
        TokenSet(AuthConfig(secrets_file=secrets))
    assert str(caught.value).startswith(f"{secrets}:2: auth.secrets_file: ")
    assert "hunter2" not in str(caught.value)


def test_a_secrets_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"auth\.secrets_file: .*none can't be read: No such"):
        TokenSet(AuthConfig(secrets_file=tmp_path / "none"))
