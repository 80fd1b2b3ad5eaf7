"""JSON lines: one message a line, for people and for tools such as `nc`."""

from __future__ import annotations

from ._errors import LocalProtocolError
from ._frame import MAX_PAYLOAD_BYTES

__all__ = ["encode_line"]


def encode_line(payload: bytes) -> bytes:
    r"""End a message with `\n`, after making spaces of line breaks between its tokens.

    JSON as msgspec writes it has none, but a Raw inside it is copied as it came.

    Raises LocalProtocolError for a message above 16 MiB.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(
            f"a message of {len(payload)} bytes is over the line limit of {MAX_PAYLOAD_BYTES} bytes"
        )
    if b"\n" in payload:  # never inside a string: JSON escapes it there
        payload = payload.replace(b"\n", b" ")
    return payload + b"\n"
