"""Requests one by one: a line in the log at level debug, and a span for OpenTelemetry."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from rstmdb_server.testing import ServerProcess
from rstmdb_server.tracing import parent_of
from wire import Wire

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
RING = {
    "states": ["x"],
    "initial": "x",
    "transitions": [{"from": "x", "event": "T", "to": "x"}],
}


def request_lines(server: ServerProcess) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.log_lines()]
    return [line for line in lines if line["logger"] == "rstmdb.requests"]


def test_at_level_debug_each_request_is_a_line_with_its_id_and_outcome(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, {"RSTMDB_LOG_LEVEL": "debug"}) as server,
        Wire(server.host, server.port, hello=False) as wire,
    ):
        wire.response(wire.send("PING", {}, id="p-1", meta={"trace_id": "t-1"}))
        wire.call("PUT_MACHINE", machine="ring", version=1, definition=RING)
        wire.request("GET_INSTANCE", instance_id="nobody")
        wire.request("NOPE")
        deadline = time.monotonic() + 5
        while len(request_lines(server)) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        ping, put, get, invalid = request_lines(server)
        assert (ping["op"], ping["request_id"], ping["trace_id"]) == ("PING", "p-1", "t-1")
        assert ping["error"] is None
        assert ping["peer"].startswith("('127.0.0.1'")
        assert 0 <= ping["duration_ms"] < 5000
        assert put["wal_offset"] > 0
        assert (get["op"], get["error"]) == ("GET_INSTANCE", "INSTANCE_NOT_FOUND")
        assert (invalid["op"], invalid["error"]) == ("", "BAD_REQUEST")


def test_no_request_is_logged_above_debug_and_a_reload_takes_the_level_up(tmp_path: Path) -> None:
    config = tmp_path / "rstmdb.yaml"
    config.write_text("logging: {level: info}\n")
    with (
        ServerProcess(tmp_path, config=config) as server,
        Wire(server.host, server.port) as wire,
    ):
        wire.call("PING")
        config.write_text("logging: {level: debug}\n")
        server.signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        while not request_lines(server) and time.monotonic() < deadline:
            wire.call("INFO")
        assert {line["op"] for line in request_lines(server)} == {"INFO"}


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """An OpenTelemetry collector that keeps what it is sent over OTLP/HTTP."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            for of_resource in request.resource_spans:
                for of_scope in of_resource.scope_spans:
                    spans.extend(of_scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_with_tracing_each_request_is_a_span_below_the_callers(tmp_path: Path) -> None:
    with collector() as (endpoint, spans):
        env = {"RSTMDB_TRACING_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with (
            ServerProcess(tmp_path, env) as server,
            Wire(server.host, server.port, hello=False) as wire,
        ):
            put = {"machine": "ring", "version": 1, "definition": RING}
            traced = wire.response(wire.send("PUT_MACHINE", put, meta={"trace_id": TRACEPARENT}))
            wire.response(wire.send("PING", {}, id="p", meta={"trace_id": "not a traceparent"}))
            wire.request("GET_INSTANCE", instance_id="nobody")
            assert server.stop() == 0
        by_name = {span.name: span for span in spans}
        assert set(by_name) == {"PUT_MACHINE", "PING", "GET_INSTANCE"}
        write = by_name["PUT_MACHINE"]
        assert write.trace_id.hex() == TRACE
        assert write.parent_span_id.hex() == PARENT
        assert attributes(write)["rstmdb.wal_offset"] == traced["meta"]["wal_offset"]
        assert 0 < write.end_time_unix_nano - write.start_time_unix_nano < 5_000_000_000
        assert write.kind == Span.SPAN_KIND_SERVER
        ping = by_name["PING"]
        assert ping.parent_span_id == b""
        assert attributes(ping)["rstmdb.request_id"] == "p"
        assert attributes(ping)["rstmdb.trace_id"] == "not a traceparent"
        failed = by_name["GET_INSTANCE"]
        assert failed.status.code == Status.STATUS_CODE_ERROR
        assert attributes(failed)["error.type"] == "INSTANCE_NOT_FOUND"


@pytest.mark.parametrize(
    "trace_id",
    [None, "", "t-1", TRACE, f"01-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
     TRACEPARENT.upper(), TRACEPARENT + "-x"],
)  # fmt: skip
def test_what_is_no_traceparent_has_no_parent(trace_id: str | None) -> None:
    assert parent_of(trace_id) is None


def test_a_server_without_tracing_does_not_load_it() -> None:
    code = "import sys, rstmdb_server.server; print([m for m in sys.modules if 'telemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
