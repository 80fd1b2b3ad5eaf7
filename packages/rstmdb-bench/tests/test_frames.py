import json

import pytest

from rstmdb_bench import _frames
from rstmdb_bench._errors import BenchError
from rstmdb_bench._frames import FrameSource, is_one_ok, read_answers
from rstmdb_bench._workload import Shape, Workload, initial_ctx, operations_of
from rstmdb_protocol import (
    ErrorCode,
    Request,
    ServerConnection,
    encode_error,
    encode_frame,
    encode_ok,
)

READS, WRITES = "GET_INSTANCE", "APPLY_EVENT"
OPERATIONS = {
    Workload.PING: {"PING"},
    Workload.GET: {READS},
    Workload.APPLY: {WRITES},
    Workload.CREATE: {"CREATE_INSTANCE"},
    Workload.READ_HEAVY: {READS, WRITES},
    Workload.MIXED: {READS, WRITES},
    Workload.WRITE_HEAVY: {READS, WRITES},
    Workload.HOT_KEY: {WRITES},
    Workload.LARGE_CONTEXT: {READS, WRITES},
    Workload.BATCH: {"BATCH"},
}


def source(
    workload: Workload, instances: int = 3, in_flight: int = 8, start: int = 0
) -> FrameSource:
    shape = Shape("100%d", instances, batch_ops=4)
    return FrameSource(workload, shape, in_flight=in_flight, start=start)


def decode(data: bytes) -> list[Request]:
    server = ServerConnection()
    server.feed(data)
    requests = list(server.requests())
    assert server.pending_bytes == 0
    assert all(isinstance(request, Request) for request in requests)
    return [request for request in requests if isinstance(request, Request)]


def instance_number(request: Request) -> int:
    return int(request.params.instance_id.rpartition("-")[2])


@pytest.mark.parametrize("workload", list(Workload))
def test_every_frame_of_a_workload_is_a_valid_request(workload: Workload) -> None:
    frames = source(workload)
    requests = [request for _ in range(20) for request in decode(frames.take(8))]
    assert {request.op for request in requests} == OPERATIONS[workload]
    assert len({request.id for request in requests}) == 160


@pytest.mark.parametrize("workload", [Workload.GET, Workload.APPLY])
@pytest.mark.parametrize("instances", [1, 3, 5000])
def test_instances_take_turns_across_all_takes(workload: Workload, instances: int) -> None:
    frames = source(workload, instances, in_flight=7)
    counts = [1, 7, 3] * 500
    requests = decode(b"".join(frames.take(count) for count in counts))
    assert [request.params.instance_id for request in requests] == [
        f"100%d-{number % instances}" for number in range(sum(counts))
    ]


def test_of_more_instances_than_fit_a_part_is_spread_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_frames, "POOL_FRAMES", 1000)
    frames = source(Workload.GET, 100_000)
    numbers = [instance_number(each) for _ in range(125) for each in decode(frames.take(8))]
    assert len(set(numbers)) == 1000
    for tenth in range(10):
        inside = sum(number // 10_000 == tenth for number in numbers)
        assert 90 <= inside <= 110


def test_memory_for_frames_is_bounded_however_long_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_frames, "POOL_BYTES", 10_000)
    few = Shape("x", 1000, batch_ops=100)
    frames = FrameSource(Workload.BATCH, few, in_flight=2)
    distinct = {frames.take(1) for _ in range(50)}
    assert len(distinct) == 2  # at least those in flight


@pytest.mark.parametrize(
    ("workload", "share"),
    [(Workload.READ_HEAVY, 0.95), (Workload.MIXED, 0.5), (Workload.WRITE_HEAVY, 0.1)],
)
@pytest.mark.parametrize("instances", [1000, 1])
def test_reads_and_writes_are_mixed_evenly_over_all_instances(
    workload: Workload, share: float, instances: int
) -> None:
    frames = source(workload, instances, in_flight=100)
    requests = [each for _ in range(40) for each in decode(frames.take(100))]
    reads = [each for each in requests if each.op == READS]
    assert len(reads) / len(requests) == pytest.approx(share, abs=0.01)
    for hundred in range(40):
        part = requests[hundred * 100 : hundred * 100 + 100]
        assert sum(each.op == READS for each in part) == pytest.approx(share * 100, abs=3)
    read = {instance_number(each) for each in reads}
    assert len(read) >= min(instances, len(reads) // 5)


def test_a_hot_key_is_one_instance() -> None:
    requests = decode(source(Workload.HOT_KEY, 1000).take(8))
    assert {instance_number(request) for request in requests} == {0}


def test_a_batch_is_atomic_and_holds_its_number_of_events() -> None:
    shape = Shape("x", 10, batch_ops=4)
    frames = FrameSource(Workload.BATCH, shape, in_flight=8)
    requests = decode(frames.take(3))
    assert operations_of(Workload.BATCH, shape) == 4
    assert operations_of(Workload.APPLY, shape) == 1
    assert {request.params.mode for request in requests} == {"atomic"}
    touched = [
        [json.loads(bytes(op.params))["instance_id"] for op in request.params.ops]
        for request in requests
    ]
    assert touched[0] == ["x-0", "x-1", "x-2", "x-3"]
    assert touched[2] == ["x-8", "x-9", "x-0", "x-1"]


@pytest.mark.parametrize("size", [100, 1000, 100_000])
def test_a_large_context_is_about_as_long_as_asked(size: int) -> None:
    ctx = initial_ctx(Workload.LARGE_CONTEXT, Shape(context_bytes=size), 7)
    assert len(json.dumps(ctx, separators=(",", ":"))) == pytest.approx(size, rel=0.1, abs=60)


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


def test_only_a_single_whole_ok_is_one() -> None:
    assert is_one_ok(OK)
    assert not any(is_one_ok(OK[:cut]) for cut in range(len(OK)))
    assert not is_one_ok(OK + OK)
    assert not is_one_ok(BAD)
    assert not is_one_ok(b"HTTP/1.1 400 Bad Request\r\n")
    decoy = encode_frame(encode_error("1", ErrorCode.CONFLICT, "x", details={"status": "ok"}))
    assert not is_one_ok(decoy)


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
