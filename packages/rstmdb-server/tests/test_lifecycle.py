"""Start, stop, reload and fsync policies of a real server process."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from rstmdb_server.auth import hash_token
from rstmdb_server.testing import ServerProcess, ServerStartError
from wire import Wire

RING: dict[str, Any] = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}


def prepare(wire: Wire) -> None:
    wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
    wire.call("CREATE_INSTANCE", machine="ring", version=1, instance_id="r")


def tick(wire: Wire, n: int = 0) -> int:
    answer = wire.call("APPLY_EVENT", instance_id="r", event="T", payload={"n": n})
    offset: int = answer["wal_offset"]
    return offset


def wait_until_durable(wire: Wire, offset: int, secs: float) -> None:
    deadline = time.monotonic() + secs
    while wire.call("WAL_STATS")["durable_offset"] < offset:
        assert time.monotonic() < deadline, "not synced in time"
        time.sleep(0.01)


def test_every_write_is_synced_before_its_answer(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Wire(server.host, server.port) as wire:
        prepare(wire)
        for n in range(20):
            offset = tick(wire, n)
            assert wire.call("WAL_STATS")["durable_offset"] == offset


def test_every_n_never_leaves_n_answered_writes_unsynced(tmp_path: Path) -> None:
    env = {"RSTMDB_FSYNC_POLICY": "every_n:10"}
    with ServerProcess(tmp_path, env) as server, Wire(server.host, server.port) as wire:
        prepare(wire)
        wire.call("COMPACT")
        before = wire.call("WAL_STATS")["io_stats"]["fsyncs"]
        offsets = [tick(wire, n) for n in range(100)]
        stats = wire.call("WAL_STATS")
        assert len([o for o in offsets if o > stats["durable_offset"]]) < 10
        assert 10 <= stats["io_stats"]["fsyncs"] - before <= 13


def test_every_ms_syncs_also_when_traffic_stops(tmp_path: Path) -> None:
    env = {"RSTMDB_FSYNC_POLICY": "every_ms:100"}
    with ServerProcess(tmp_path, env) as server, Wire(server.host, server.port) as wire:
        prepare(wire)
        wait_until_durable(wire, tick(wire), 5)
        before = wire.call("WAL_STATS")["io_stats"]["fsyncs"]
        for n in range(50):
            offset = tick(wire, n)
        wait_until_durable(wire, offset, 5)
        assert wire.call("WAL_STATS")["io_stats"]["fsyncs"] - before < 50


def test_never_syncs_at_a_clean_stop_only(tmp_path: Path) -> None:
    env = {"RSTMDB_FSYNC_POLICY": "never"}
    with ServerProcess(tmp_path, env) as server:
        with Wire(server.host, server.port) as wire:
            prepare(wire)
            before = wire.call("WAL_STATS")["io_stats"]["fsyncs"]
            for n in range(50):
                tick(wire, n)
            assert wire.call("WAL_STATS")["io_stats"]["fsyncs"] == before
        assert server.stop() == 0
        server.start()
        with Wire(server.host, server.port) as wire:
            assert wire.call("GET_INSTANCE", instance_id="r")["ctx"] == {"n": 49}


def test_a_graceful_stop_answers_what_is_in_flight_and_exits_with_zero(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        with Wire(server.host, server.port) as wire:
            prepare(wire)
            ids = [
                wire.send("APPLY_EVENT", {"instance_id": "r", "event": "T", "payload": {"n": n}})
                for n in range(500)
            ]
            stopped = threading.Thread(target=server.stop)
            answered = [wire.response(ids[0])]
            stopped.start()
            for request_id in ids[1:]:
                try:
                    answered.append(wire.response(request_id))
                except (EOFError, ConnectionError):
                    break
            stopped.join()
        assert server.wait() == 0
        assert all(answer["status"] == "ok" for answer in answered)
        server.start()
        with Wire(server.host, server.port) as wire:
            n = wire.call("GET_INSTANCE", instance_id="r")["ctx"]["n"]
            assert n >= len(answered) - 1


def test_a_second_signal_ends_the_server_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Wire(server.host, server.port) as wire:
        prepare(wire)
        os.kill(server.pid, signal.SIGSTOP)
        os.kill(server.pid, signal.SIGTERM)
        os.kill(server.pid, signal.SIGINT)
        began = time.monotonic()
        os.kill(server.pid, signal.SIGCONT)
        server.wait()
        assert time.monotonic() - began < 5


def test_a_second_server_on_the_same_directory_is_refused_and_names_the_first(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path) as first:
        second = ServerProcess(tmp_path)
        with pytest.raises(ServerStartError) as refused:
            second.start()
        assert str(first.pid) in str(refused.value)
        assert "Traceback" not in str(refused.value)


def test_a_hangup_takes_up_new_tokens_and_keeps_connections(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{hash_token('old')}  # the first\n")
    env = {"RSTMDB_AUTH_REQUIRED": "true", "RSTMDB_AUTH_SECRETS_FILE": str(secrets)}
    with ServerProcess(tmp_path, env) as server, Wire(server.host, server.port) as kept:
        kept.call("AUTH", token="old")
        secrets.write_text(hash_token("new") + "\n")
        os.kill(server.pid, signal.SIGHUP)
        deadline = time.monotonic() + 5
        while not any("reloaded" in line for line in server.log_lines()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert kept.call("LIST_MACHINES") == {"items": []}
        with Wire(server.host, server.port) as wire:
            assert wire.request("AUTH", token="old")["error"]["code"] == "AUTH_FAILED"
            assert wire.call("AUTH", token="new") == {"authenticated": True}
        lines = server.log_lines()
        assert sum("failed AUTH from ('127.0.0.1'" in line for line in lines) == 1


def test_a_damaged_log_refuses_to_start_and_says_where(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        with Wire(server.host, server.port) as wire:
            prepare(wire)
            for n in range(20):
                tick(wire, n)
        server.kill()
        segment = min((server.data_dir / "wal").glob("*.wal"))
        data = bytearray(segment.read_bytes())
        data[len(data.rstrip(b"\0")) // 2] ^= 0x40
        segment.write_bytes(data)
        with pytest.raises(ServerStartError) as refused:
            server.start()
        text = str(refused.value)
        assert segment.name in text
        assert "sequence" in text
        assert "Traceback" not in text


def test_tls_speaks_the_same_protocol_and_plain_text_is_turned_away(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    key, chain, ca = (tmp_path / name for name in ("key.pem", "cert.pem", "ca.pem"))
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(ca)
    env = {
        "RSTMDB_TLS_ENABLED": "true",
        "RSTMDB_TLS_CERT": str(chain),
        "RSTMDB_TLS_KEY": str(key),
        "RSTMDB_LIMIT_HANDSHAKE_TIMEOUT_SECS": "2",
    }
    with ServerProcess(tmp_path, env) as server:
        context = ssl.create_default_context(cafile=str(ca))
        with Wire(server.host, server.port, hello=False, tls=context) as wire:
            assert wire.call("PING") == {"pong": True}
            prepare(wire)
            tick(wire)
        with Wire(server.host, server.port, hello=False) as plain:
            plain.send("PING")
            assert plain.closed_by_server()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with Wire(server.host, server.port, hello=False, tls=old) as wire:
            assert wire.call("PING") == {"pong": True}
