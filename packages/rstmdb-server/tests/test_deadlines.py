"""Deadlines of a connection: what counts against them, and what does not."""

from __future__ import annotations

import contextlib
import ssl
import time
from pathlib import Path

import pytest
import trustme

from rstmdb_server.testing import ServerProcess
from wire import Wire

RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}
MODULES = ("rstmdb_server", "trio_server")
TRIO = {"PYTHONPATH": str(Path(__file__).parents[3] / "tests" / "support")}


@pytest.mark.parametrize("module", MODULES)
def test_a_slow_reader_lives_and_one_that_takes_nothing_is_closed(
    tmp_path: Path, module: str
) -> None:
    env = {"RSTMDB_LIMIT_WRITE_TIMEOUT_SECS": "2", **TRIO}
    with (
        ServerProcess(tmp_path, env, module=module) as server,
        Wire(server.host, server.port) as writer,
        Wire(server.host, server.port) as slow,
        Wire(server.host, server.port) as deaf,
    ):
        writer.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        writer.call(
            "CREATE_INSTANCE", machine="ring", version=1, instance_id="big",
            initial_ctx={"text": "x" * 1_000_000},
        )  # fmt: skip
        for _ in range(40):
            deaf.send("GET_INSTANCE", {"instance_id": "big"})
            slow.send("GET_INSTANCE", {"instance_id": "big"})
        # A quarter of a megabyte a quarter of a second: it never drains to the low-water mark.
        until = time.monotonic() + 6
        taken = 0
        while time.monotonic() < until:
            taken += len(slow.socket.recv(256 * 1024))
            time.sleep(0.25)
        assert taken < 40_000_000
        assert "takes no bytes" in "\n".join(server.log_lines())
        deaf.socket.settimeout(5)
        assert _drained_and_closed(deaf) < 40_000_000
        while taken < 40_000_000:
            data = slow.socket.recv(1 << 20)
            assert data
            taken += len(data)


def _drained_and_closed(wire: Wire) -> int:
    taken = 0
    try:
        while data := wire.socket.recv(1 << 20):
            taken += len(data)
    except ConnectionError:
        pass
    return taken


@pytest.mark.parametrize("module", MODULES)
def test_the_deadline_of_the_first_request_begins_before_the_tls_handshake(
    tmp_path: Path, module: str
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    env = {
        "RSTMDB_TLS_ENABLED": "true",
        "RSTMDB_TLS_CERT": str(tmp_path / "cert.pem"),
        "RSTMDB_TLS_KEY": str(tmp_path / "key.pem"),
        "RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS": "3",
        **TRIO,
    }
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        ServerProcess(tmp_path, env, module=module) as server,
        server.connect() as late,
    ):
        began = time.monotonic()
        time.sleep(2)
        with context.wrap_socket(late, server_hostname="127.0.0.1") as secured:
            secured.settimeout(10)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert secured.recv(1) == b""
            assert 2.5 < time.monotonic() - began < 4.9
