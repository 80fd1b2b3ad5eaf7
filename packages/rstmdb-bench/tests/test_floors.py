import socket
from pathlib import Path

import pytest

from rstmdb_bench._errors import BenchError
from rstmdb_bench._floors import echo_server, sync_floor
from rstmdb_protocol import ClientConnection, ResponseMessage, encode_frame


def test_the_echo_answers_frame_by_frame_however_they_arrive() -> None:
    client = ClientConnection()
    sent = [client.request("PING", {}) for _ in range(5)]
    stream = b"".join(data for _, data in sent)
    seen: list[str | None] = []
    with echo_server() as address, socket.create_connection(address, 5) as sock:
        for start in range(0, len(stream), 50):
            sock.sendall(stream[start : start + 50])
        while len(seen) < 5:
            client.feed(sock.recv(4096))
            for message in client.messages():
                assert isinstance(message, ResponseMessage)
                assert message.status == "ok"
                seen.append(message.id)
    assert seen == [request_id for request_id, _ in sent]


@pytest.mark.parametrize("broken", ["magic", "crc"])
def test_the_echo_checks_what_it_reads(broken: str) -> None:
    frame = bytearray(encode_frame(b'{"type":"request","id":"1","op":"PING"}'))
    frame[0 if broken == "magic" else -1] ^= 1
    with echo_server() as address, socket.create_connection(address, 5) as sock:
        sock.sendall(frame)
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            return


def test_the_disk_floor_leaves_nothing_behind(tmp_path: Path) -> None:
    assert sync_floor(tmp_path, 0.1) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(BenchError, match=r"missing: No such file.*--floor-directory"):
        sync_floor(missing, 0.1)
