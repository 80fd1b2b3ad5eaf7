import json
from pathlib import Path

import pytest

from rstmdb_protocol import (
    RETRYABLE_CODES,
    ErrorCode,
    PingResult,
    ResponseMeta,
    encode_error,
    encode_line,
    encode_ok,
    error_body,
)

GOLDEN = Path(__file__).parent / "golden"


def test_an_error_is_byte_for_byte_the_golden_one() -> None:
    details = {"expected_state": "new", "actual_state": "paid"}
    meta = ResponseMeta(trace_id="t-1")
    message = "expected state 'new', found 'paid'"
    answer = encode_error("1", ErrorCode.CONFLICT, message, details, meta)
    assert encode_line(answer) == (GOLDEN / "error.line").read_bytes()


def test_details_and_meta_are_omitted_when_empty() -> None:
    empty: list[dict[str, object] | None] = [None, {}]
    for details in empty:
        error = json.loads(encode_error(None, ErrorCode.NOT_FOUND, "gone", details))
        assert error == {
            "type": "response",
            "id": None,
            "status": "error",
            "error": {"code": "NOT_FOUND", "message": "gone", "retryable": False},
        }
    assert "meta" not in json.loads(encode_ok("1", PingResult(pong=True)))


@pytest.mark.parametrize("code", list(ErrorCode))
def test_only_three_codes_are_retryable(code: ErrorCode) -> None:
    retryable = code in {"WAL_IO_ERROR", "INTERNAL_ERROR", "RATE_LIMITED"}
    assert error_body(code, "x").retryable is retryable
    assert (code in RETRYABLE_CODES) is retryable


def test_the_error_codes_are_a_closed_set() -> None:
    assert len(ErrorCode) == 16
    assert all(code.name == code.value for code in ErrorCode)
