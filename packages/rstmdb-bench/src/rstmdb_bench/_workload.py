"""What a run asks for: each workload's requests, and the instances that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rstmdb_protocol import encode_frame

__all__ = [
    "MACHINE",
    "Shape",
    "Workload",
    "answer_bytes",
    "frame_maker",
    "initial_ctx",
    "operations_of",
]

MACHINE: Final = "load"
"""The machine that every workload but ping uses: a ring of five states, event NEXT."""


class Workload(StrEnum):
    """What the requests ask for."""

    PING = "ping"
    GET = "get"
    APPLY = "apply"
    CREATE = "create"
    READ_HEAVY = "read-heavy"
    MIXED = "mixed"
    WRITE_HEAVY = "write-heavy"
    HOT_KEY = "hot-key"
    LARGE_CONTEXT = "large-context"
    BATCH = "batch"


SMALL_ANSWER_BYTES: Final = 4096

READ_SHARE: Final = {
    Workload.READ_HEAVY: 0.95,
    Workload.MIXED: 0.5,
    Workload.WRITE_HEAVY: 0.1,
    Workload.LARGE_CONTEXT: 0.5,
}
"""Of the requests, those that are GET_INSTANCE; the others are APPLY_EVENT."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a workload.

    `prefix` begins every instance's id, `instances` is their number, `batch_ops` how many
    events one BATCH applies, `context_bytes` about how long a context of large-context is.
    """

    prefix: str = "bench"
    instances: int = 1000
    batch_ops: int = 10
    context_bytes: int = 16_384

    def for_workload(self, workload: Workload) -> Shape:
        """The shape with the ids that the workload uses: large contexts have their own."""
        if workload is not Workload.LARGE_CONTEXT:
            return self
        prefix = f"{self.prefix}-large-{self.context_bytes}"
        return Shape(prefix, self.instances, self.batch_ops, self.context_bytes)


def operations_of(workload: Workload, shape: Shape) -> int:
    """How many operations one request carries: more than 1 only for batch."""
    return shape.batch_ops if workload is Workload.BATCH else 1


def answer_bytes(workload: Workload, shape: Shape) -> int:
    """Room for one answer, so that a receive takes it whole."""
    match workload:
        case Workload.LARGE_CONTEXT:
            return SMALL_ANSWER_BYTES + shape.context_bytes * 5 // 4
        case Workload.BATCH:
            return SMALL_ANSWER_BYTES + shape.batch_ops * 512
        case _:
            return SMALL_ANSWER_BYTES


def initial_ctx(workload: Workload, shape: Shape, number: int) -> dict[str, object]:
    """The context that an instance starts with."""
    ctx: dict[str, object] = {"customer": f"c-{number}", "amount": 100}
    if workload is Workload.LARGE_CONTEXT:
        ctx["notes"] = [f"line {line:06d} of a long context" for line in _lines(shape)]
    return ctx


def _lines(shape: Shape) -> range:
    return range(max(1, shape.context_bytes // 32))


def frame_maker(workload: Workload, shape: Shape) -> Callable[[int, int], bytes]:
    """A function of a sequence number and an instance's number that gives a whole frame."""
    read_share = READ_SHARE.get(workload)
    if read_share is not None:
        get, apply = _get(shape), _apply(shape)
        return lambda number, instance: (
            get(number, instance) if _spread(number) < read_share else apply(number, instance)
        )
    match workload:
        case Workload.PING:
            return _ping()
        case Workload.GET:
            return _get(shape)
        case Workload.HOT_KEY:
            apply = _apply(shape)
            return lambda number, _: apply(number, 0)
        case Workload.BATCH:
            return _batch(shape)
        case Workload.CREATE:
            return _create(shape)
        case _:
            return _apply(shape)


def _spread(number: int) -> float:
    """0 to 1, evenly, and with no regard for what divides the number: Weyl's sequence."""
    return (number * 2_654_435_761 & 0xFFFF_FFFF) / 0x1_0000_0000


HEAD: Final = '{"type":"request","id":"%d","op":'


def _name(shape: Shape) -> str:
    return shape.prefix.replace("%", "%%")


def _ping() -> Callable[[int, int], bytes]:
    ping = (HEAD + '"PING","params":{}}').encode()
    return lambda number, _: encode_frame(ping % number)


def _get(shape: Shape) -> Callable[[int, int], bytes]:
    get = (HEAD + f'"GET_INSTANCE","params":{{"instance_id":"{_name(shape)}-%d"}}}}').encode()
    return lambda number, instance: encode_frame(get % (number, instance))


def _apply(shape: Shape) -> Callable[[int, int], bytes]:
    apply = (HEAD + '"APPLY_EVENT","params":' + _apply_params(shape) + "}").encode()
    return lambda number, instance: encode_frame(apply % (number, instance, number))


def _apply_params(shape: Shape) -> str:
    return (
        f'{{"instance_id":"{_name(shape)}-%d","event":"NEXT","payload":{{"step":%d,"who":"load"}}}}'
    )


def _batch(shape: Shape) -> Callable[[int, int], bytes]:
    # Atomic: then an operation that is refused makes the whole answer an error, and is seen.
    op = '{"op":"APPLY_EVENT","params":' + _apply_params(shape) + "}"
    ops = ",".join([op] * shape.batch_ops)
    batch = (HEAD + '"BATCH","params":{"mode":"atomic","ops":[' + ops + "]}}").encode()

    def make(number: int, instance: int) -> bytes:
        first = instance * shape.batch_ops
        values = [number]
        for each in range(first, first + shape.batch_ops):
            values += (each % shape.instances, number)
        return encode_frame(batch % tuple(values))

    return make


def _create(shape: Shape) -> Callable[[int, int], bytes]:
    create = (
        HEAD + f'"CREATE_INSTANCE","params":{{"instance_id":"{_name(shape)}-%d",'
        f'"machine":"{MACHINE}","version":1,"initial_ctx":{{"customer":"c-%d","amount":100}}}}}}'
    ).encode()
    return lambda number, _: encode_frame(create % (number, number, number))
