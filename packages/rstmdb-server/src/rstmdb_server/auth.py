"""Bearer tokens, known to the server by their SHA-256 only."""

from __future__ import annotations

import hmac
from hashlib import sha256
from pathlib import Path

from .config import AuthConfig, ConfigError

__all__ = ["TokenSet", "hash_token"]

_HEX = frozenset("0123456789abcdef")
_DIGITS = 64


def hash_token(token: str) -> str:
    """The SHA-256 of a token's UTF-8, in lower-case hexadecimal: what configurations hold."""
    # JSON can carry lone surrogates; they must fail to match, not fail to encode.
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class TokenSet:
    """The hashes of `auth.token_hashes` and `auth.secrets_file`.

    Raises ConfigError for a file that can't be read, a line that is no hash, and for no hash
    at all where AUTH is required.
    """

    def __init__(self, auth: AuthConfig) -> None:
        self._auth = auth
        self._hashes = _read(auth)

    def verify(self, token: str) -> bool:
        """Whether the token is known; the time tells nothing about which hashes come close."""
        presented = hash_token(token).encode()
        found = False
        for known in self._hashes:
            found |= hmac.compare_digest(known, presented)
        return found

    def reload(self, auth: AuthConfig | None = None) -> None:
        """Read the secrets file again, and take the hashes of `auth` if it is given.

        Raises ConfigError as the constructor does, and then goes on with the old hashes.
        """
        auth = auth or self._auth
        self._hashes = _read(auth)
        self._auth = auth

    def __len__(self) -> int:
        return len(self._hashes)


def _read(auth: AuthConfig) -> tuple[bytes, ...]:
    hashes = [one.encode() for one in auth.token_hashes]
    if auth.secrets_file is not None:
        hashes += _read_secrets(auth.secrets_file)
    if auth.required and not hashes:
        raise ConfigError(
            "auth.required: no token is configured, so nobody could connect; add the SHA-256 "
            "of one to auth.token_hashes, RSTMDB_AUTH_TOKEN_HASH or auth.secrets_file"
        )
    return tuple(dict.fromkeys(hashes))


def _read_secrets(path: Path) -> list[bytes]:
    """A hash a line; empty lines and what follows a # count for nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"auth.secrets_file: {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"auth.secrets_file: {path} is not UTF-8 text") from error
    hashes = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip().lower()
        if not word:
            continue
        if len(word) != _DIGITS or not _HEX.issuperset(word):
            raise ConfigError(
                f"{path}:{number}: auth.secrets_file: the line is not the SHA-256 of a token "
                "in 64 hexadecimal digits"
            )
        hashes.append(word.encode())
    return hashes
