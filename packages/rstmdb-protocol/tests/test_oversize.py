"""Requests larger than their operation takes, whatever their members' order."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from rstmdb_protocol import OPERATIONS, InvalidRequest, Request, decode_request

ENVELOPE: dict[str, Any] = {
    "type": "request",
    "id": 'a"}',
    "op": "PUT_MACHINE",
    "meta": {"trace_id": "}{"},
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", range(5))
def test_a_request_that_is_too_large_is_refused_unread(before: int, indent: int | None) -> None:
    for order in itertools.permutations(ENVELOPE):
        early = {key: ENVELOPE[key] for key in order[:before]}
        late = {key: ENVELOPE[key] for key in order[before:]}
        sent = json.dumps({**early, "params": {"@": 0}, **late}, indent=indent).encode()
        filler = b'{"x": [' + b"1," * (2 << 20) + b"}"
        at = sent.index(b'"params": {') + len(b'"params": ')
        payload = sent[:at] + filler + sent[sent.index(b"}", at) + 1 :]
        answer = decode_request(payload)
        assert isinstance(answer, InvalidRequest)
        assert answer.id == 'a"}'
        assert answer.trace_id == "}{"
        assert answer.message == (
            f"PUT_MACHINE: a request of {len(payload)} bytes; it may have at most 4194304"
        )


def test_a_request_that_hides_its_operation_is_refused_once_it_is_read() -> None:
    hidden = {"more": [{}], **ENVELOPE, "params": {"x": "y" * (4 << 20)}, "end": [{}]}
    answer = decode_request(json.dumps(hidden).encode())
    assert isinstance(answer, InvalidRequest)
    whole = {"machine": "m", "version": 1, "definition": "x" * (4 << 20)}
    answer = decode_request(json.dumps({**hidden, "params": whole}).encode())
    assert isinstance(answer, InvalidRequest)
    assert answer.id == 'a"}'
    assert "it may have at most 4194304" in answer.message


@pytest.mark.parametrize("op", OPERATIONS)
def test_what_its_operation_takes_is_read(op: str) -> None:
    limit = OPERATIONS[op].max_bytes
    start = b'{"id":"1","op":"%s","unknown":"' % op.encode()
    for size in (limit, limit + 1):
        payload = start + b"x" * (size - len(start) - 2) + b'"}'
        answer = decode_request(payload)
        if isinstance(answer, InvalidRequest):
            assert ("it may have at most" in answer.message) is (size > limit)
        else:
            assert size == limit


def test_text_that_looks_like_an_end_is_no_end() -> None:
    """Inside of a string, what follows could not be the end of JSON."""
    params = {
        "instance_id": "i",
        "event": '},"op":"PING","id":"2"}',
        "payload": {"x": "y" * (2 << 20)},
    }
    decoded = decode_request(
        json.dumps({"id": "1", "op": "APPLY_EVENT", "params": params}).encode()
    )
    assert isinstance(decoded, Request)
    assert (decoded.id, decoded.op) == ("1", "APPLY_EVENT")
