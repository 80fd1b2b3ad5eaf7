import pytest

from rstmdb_bench._errors import BenchError
from rstmdb_bench._frames import POOL_FRAMES, FrameSource, Workload, read_answers
from rstmdb_protocol import (
    ErrorCode,
    Request,
    ServerConnection,
    encode_error,
    encode_frame,
    encode_ok,
)

OPERATIONS = {
    Workload.PING: "PING",
    Workload.GET: "GET_INSTANCE",
    Workload.APPLY: "APPLY_EVENT",
    Workload.CREATE: "CREATE_INSTANCE",
}


def source(
    workload: Workload, instances: int = 3, in_flight: int = 8, start: int = 0
) -> FrameSource:
    return FrameSource(
        workload, prefix="100%d", instances=instances, in_flight=in_flight, start=start
    )


def decode(data: bytes) -> list[Request]:
    server = ServerConnection()
    server.feed(data)
    requests = list(server.requests())
    assert server.pending_bytes == 0
    assert all(isinstance(request, Request) for request in requests)
    return [request for request in requests if isinstance(request, Request)]


@pytest.mark.parametrize("workload", list(Workload))
def test_every_frame_of_a_workload_is_a_valid_request(workload: Workload) -> None:
    requests = decode(source(workload).take(8))
    assert [request.op for request in requests] == [OPERATIONS[workload]] * 8
    assert len({request.id for request in requests}) == 8


@pytest.mark.parametrize("workload", [Workload.GET, Workload.APPLY])
@pytest.mark.parametrize("instances", [1, 3, 5000, POOL_FRAMES + 1])
def test_instances_take_turns_across_all_takes(workload: Workload, instances: int) -> None:
    frames = source(workload, instances, in_flight=7)
    counts = [1, 7, 3] * 500
    requests = decode(b"".join(frames.take(count) for count in counts))
    assert [request.params.instance_id for request in requests] == [
        f"100%d-{number % instances}" for number in range(sum(counts))
    ]


@pytest.mark.parametrize("in_flight", [1, 256, 16_384])
def test_no_id_is_in_flight_twice_on_a_connection(in_flight: int) -> None:
    frames = source(Workload.PING, in_flight=in_flight)
    ids = [request.id for _ in range(3) for request in decode(frames.take(in_flight))]
    for start in range(0, 2 * in_flight, max(1, in_flight // 2)):
        window = ids[start : start + in_flight]
        assert len(set(window)) == len(window)


def test_created_ids_never_repeat_between_processes() -> None:
    first = decode(source(Workload.CREATE).take(8))
    second = decode(source(Workload.CREATE, start=1 << 40).take(8))
    ids = {request.params.instance_id for request in first + second}
    assert len(ids) == 16


OK = encode_frame(encode_ok("1", {"pong": True}))
BAD = encode_frame(encode_error("2", ErrorCode.INSTANCE_NOT_FOUND, "no instance 'x'"))


def test_whole_answers_are_counted_and_the_rest_is_left() -> None:
    for cut in range(len(OK)):
        answers = read_answers(OK * 3 + OK[:cut])
        assert answers == (3, 3, 3 * len(OK), None)
    assert read_answers(b"") == (0, 0, 0, None)


def test_answers_that_are_errors_are_told_apart_and_the_first_is_kept() -> None:
    other = encode_frame(encode_error("3", ErrorCode.CONFLICT, "later"))
    answers = read_answers(OK + BAD + OK + other + OK[:30])
    assert (answers.total, answers.ok) == (4, 2)
    assert answers.first_error is not None
    assert "INSTANCE_NOT_FOUND" in answers.first_error
    assert "later" not in answers.first_error


def test_a_context_that_speaks_of_status_does_not_make_an_error_ok() -> None:
    decoy = encode_frame(encode_ok("1", {"ctx": {"status": "ok"}}))
    answers = read_answers(decoy + BAD)
    assert (answers.total, answers.ok) == (2, 1)
    assert read_answers(encode_frame(encode_ok("1", {"ctx": {"status": "error"}}))).ok == 1


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(BenchError, match="no RCP frame"):
        read_answers(b"HTTP/1.1 400 Bad Request\r\n")
