import contextlib
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from rstmdb_server.config import ConfigError, TlsConfig
from rstmdb_server.tls import make_ssl_context, reload_ssl_context


class Files:
    """A certificate with its key and authority, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.authority = folder / "ca.pem"
        self.ca = self.renew()

    def renew(self) -> trustme.CA:
        ca = trustme.CA()
        issued = ca.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        ca.cert_pem.write_to_path(self.authority)
        self.ca = ca
        return ca

    def config(self, **changes: Path | bool) -> TlsConfig:
        settings: dict[str, Path | bool] = {
            "enabled": True,
            "cert_path": self.cert,
            "key_path": self.key,
        }
        return TlsConfig(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory; the server's end. Raises SSLError where one side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for end in (client_end, server_end):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return server_end


def client_for(ca: trustme.CA, *, with_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if with_certificate:
        ca.issue_cert("client@example.org").configure_cert(context)
    return context


def refusal(tls: TlsConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        make_ssl_context(tls)
    return str(caught.value)


def test_a_client_that_trusts_the_authority_connects(files: Files) -> None:
    context = make_ssl_context(files.config())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert handshake(context, client_for(files.ca)).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, client_for(trustme.CA()))


def test_a_required_client_certificate_is_required(files: Files) -> None:
    context = make_ssl_context(
        files.config(require_client_cert=True, client_ca_path=files.authority)
    )
    assert handshake(context, client_for(files.ca, with_certificate=True)).getpeercert()
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(context, client_for(files.ca))


def test_with_an_authority_alone_a_client_certificate_is_optional(files: Files) -> None:
    context = make_ssl_context(files.config(client_ca_path=files.authority))
    assert handshake(context, client_for(files.ca, with_certificate=True)).getpeercert()
    assert not handshake(context, client_for(files.ca)).getpeercert()


def test_reloading_takes_up_a_renewed_certificate(files: Files) -> None:
    context = make_ssl_context(files.config())
    files.renew()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, client_for(files.ca))
    reload_ssl_context(context, files.config())
    handshake(context, client_for(files.ca))


def test_a_reload_that_fails_leaves_the_context_as_it_was(files: Files) -> None:
    context = make_ssl_context(files.config())
    trusted = client_for(files.ca)
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(files.key)
    with pytest.raises(ConfigError):
        reload_ssl_context(context, files.config())
    handshake(context, trusted)


def test_each_thing_that_can_be_wrong_is_named(files: Files) -> None:
    none = files.folder / "none"
    text = files.folder / "text"
    text.write_text("not PEM")
    assert refusal(TlsConfig(enabled=True)).startswith("tls.cert_path: must be set")
    assert refusal(TlsConfig(enabled=True, cert_path=files.cert)).startswith("tls.key_path: must")
    assert f"tls.cert_path: {none} can't be read: No such" in refusal(files.config(cert_path=none))
    assert f"tls.key_path: {none} can't be read: No such" in refusal(files.config(key_path=none))
    assert refusal(files.config(cert_path=text)) == (
        f"tls.cert_path: {text} holds no certificate in PEM"
    )
    assert refusal(files.config(key_path=text)) == (
        f"tls.key_path: {text} holds no private key in PEM"
    )
    assert refusal(files.config(client_ca_path=text)) == (
        f"tls.client_ca_path: {text} holds no certificate in PEM"
    )
    assert refusal(files.config(require_client_cert=True)).startswith("tls.require_client_cert: ")
    other = files.folder / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    assert refusal(files.config(key_path=other)) == (
        f"tls.key_path: {other} is not the key of the certificate in {files.cert}"
    )
    broken = files.folder / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert refusal(files.config(cert_path=broken)).startswith(f"tls.cert_path: {broken} and ")


def test_an_encrypted_key_is_refused_without_asking_the_terminal(files: Files) -> None:
    encrypted = files.folder / "encrypted.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", files.key, "-aes256", "-passout", "pass:x", "-out", encrypted],
        check=True,
    )
    assert refusal(files.config(key_path=encrypted)).startswith("tls.key_path: the key is encrypt")
