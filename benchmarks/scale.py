"""Goals about a million instances: memory, recovery, the flat line, snapshots, compaction."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cpu import Process
from benchmarks.goal import Goal, Sample
from benchmarks.speed import SLICES, middle
from benchmarks.subject import Subject, bench, context_bytes, fill
from rstmdb_client import SyncClient

__all__ = ["FLAT_FIGURES", "SCALE_GOALS", "Filled", "FlatLine", "measure_scale", "prepare_scale"]

FEW = 1_000
MIDDLE = 100_000
MANY = 1_000_000
PROBE_RATE = 2000
"""Requests a second of the open loop that looks for the longest wait."""

SCALE_GOALS = [
    *(
        goal
        for workload, op in (("get", "GET_INSTANCE"), ("apply", "APPLY_EVENT"))
        for goal in (
            Goal(
                f"flat {workload}", f"{op}, 1,000,000 instances against 1,000",
                "at least 0.9 of the rate", 0.9, "{value:.2f}, {figure:,.0f}/s",
            ),
            Goal(
                f"flat {workload} p99", f"{op} p99, 1,000,000 against 1,000",
                "at most 1.5 times", 1.5, "{value:.2f} times, {figure:.2f} ms", at_most=True,
            ),
        )
    ),
    Goal(
        "memory", "memory of an instance beyond its encoded context", "at most 500 bytes",
        500, "{value:,.0f} bytes", at_most=True,
    ),
    Goal(
        "recovery creates", "recovery from the log, 1,000,000 creates",
        "at least 250,000 records/s", 250_000, "{value:,.0f}/s, at most {figure:,.0f} MiB",
    ),
    Goal(
        "recovery events", "recovery from the log, 100,000 creates and 900,000 events",
        "at least 250,000 records/s", 250_000, "{value:,.0f}/s, at most {figure:,.0f} MiB",
    ),
    Goal(
        "recovery snapshot", "recovery from a snapshot", "at least 500,000 instances/s",
        500_000, "{value:,.0f}/s, at most {figure:,.0f} MiB",
    ),
    Goal(
        "compact", "COMPACT of a million instances", "at most 10 s", 10, "{value:.2f} s",
        at_most=True,
    ),
    Goal(
        "longest wait", "longest wait of any request during its snapshot", "at most 50 ms",
        50, "{value:.1f} ms; median p99 of its tenths {figure:.1f} ms",
        at_most=True,
    ),
]  # fmt: skip

FlatLine = list[dict[str, Any]]
"""A row for each workload and size, of each of FLAT_FIGURES a list over the pieces."""
FLAT_FIGURES = ("rate", "p50", "p99", "cpu_us")


@dataclass(frozen=True, slots=True)
class Filled:
    """Data directories made once: what was not compacted can be copied."""

    by_instances: dict[int, Path]
    events: Path


def prepare_scale(folder: Path, many: int) -> Filled:
    """Fill directories of three sizes, and one with as many records that are mostly events."""
    made = {}
    for instances in (FEW, MIDDLE, many):
        made[instances] = folder / f"filled-{instances}"
        fill(made[instances], instances)
    fill(folder / "events", many // 10, events=many - many // 10)
    return Filled(made, folder / "events")


def measure_scale(
    folder: Path, filled: Filled, seconds: float
) -> tuple[dict[str, Sample], FlatLine]:
    """All rows once; the rates and latencies behind the flat line beside them."""
    samples: dict[str, Sample] = {}
    many = max(filled.by_instances)
    empty = _resident_when_empty(folder / "empty")
    with _copy(folder / "events", filled.events) as subject:
        samples["recovery events"] = _recovery_of_log(subject)
    with ExitStack() as stack:
        subjects = {
            instances: stack.enter_context(_copy(folder / str(instances), source))
            for instances, source in filled.by_instances.items()
        }
        largest = subjects[many]
        samples["recovery creates"] = _recovery_of_log(largest)
        used = (largest.memory_bytes() - empty) / many
        samples["memory"] = Sample(used - context_bytes(many))
        flat = _flat_line(subjects, seconds)
        samples |= _flat_samples(flat, many)
        samples |= _maintenance(largest, many)
        # What the probe wrote since then would be read from the log.
        _compact(largest)
        largest.restart()
        _, took = largest.recovery()
        samples["recovery snapshot"] = Sample(many / took, largest.memory_bytes("VmHWM") / 2**20)
    return samples, flat


def _recovery_of_log(subject: Subject) -> Sample:
    records, took = subject.recovery()
    return Sample(records / took, subject.memory_bytes("VmHWM") / 2**20)


def _resident_when_empty(folder: Path) -> int:
    with Subject(folder) as subject:
        return subject.memory_bytes()


@contextmanager
def _copy(folder: Path, source: Path) -> Iterator[Subject]:
    folder.mkdir(parents=True)
    shutil.copytree(source, folder / "data")
    with Subject(folder, RSTMDB_COMPACT_ENABLED="false") as subject:
        yield subject
    shutil.rmtree(folder)


def _flat_line(subjects: dict[int, Subject], seconds: float) -> FlatLine:
    """The servers by turns, in short pieces: what the machine does meanwhile meets all of them."""
    flat: FlatLine = []
    for workload in ("get", "apply"):
        pieces: dict[int, list[dict[str, float]]] = {instances: [] for instances in subjects}
        for _ in range(SLICES):
            for instances, subject in subjects.items():
                pieces[instances].append(_piece(subject, workload, instances, seconds / SLICES))
        flat += [
            {"workload": workload, "instances": instances}
            | {name: [piece[name] for piece in made] for name in FLAT_FIGURES}
            for instances, made in pieces.items()
        ]
    return flat


def _piece(subject: Subject, workload: str, instances: int, seconds: float) -> dict[str, float]:
    process = Process(subject.process.pid, subject.address)
    before = process.cpu_seconds()
    results = bench(
        "run", "--address", subject.address, "--workload", workload, "--connections", "16",
        "--seconds", str(seconds), "--warmup", "0", "--instances", str(instances),
        "--prepared", "--no-floors",
    )["results"]  # fmt: skip
    latency = results["latency_ms"]
    return {
        "rate": results["rate_per_second"],
        "p50": latency["p50"],
        "p99": latency["p99"],
        "cpu_us": (process.cpu_seconds() - before) / results["ok"] * 1e6,
    }


def _flat_samples(flat: FlatLine, many: int) -> dict[str, Sample]:
    """The largest server to the smallest, neighbour by neighbour."""
    rows = {(row["workload"], row["instances"]): row for row in flat}
    samples = {}
    for workload in ("get", "apply"):
        few, most = rows[workload, FEW], rows[workload, many]
        for name, key in (("rate", f"flat {workload}"), ("p99", f"flat {workload} p99")):
            pairs = zip(most[name], few[name], strict=True)
            samples[key] = middle([Sample(big / small, big) for big, small in pairs])
    return samples


def _compact(subject: Subject) -> float:
    """COMPACT with a snapshot; the seconds it took."""
    with SyncClient.from_url(f"rstmdb://{subject.address}", request_timeout=120.0) as client:
        client.ping()
        began = time.monotonic()
        client.compact(force_snapshot=True)
        return time.monotonic() - began


def _maintenance(subject: Subject, instances: int) -> dict[str, Sample]:
    """COMPACT beside an open loop of reads and writes: its time, and the longest wait in it."""
    took: list[float] = []

    def compact() -> None:
        time.sleep(2)
        took.append(_compact(subject))

    compacting = threading.Thread(target=compact)
    compacting.start()
    result = bench(
        "run", "--address", subject.address, "--workload", "mixed", "--rate", str(PROBE_RATE),
        "--connections", "4", "--seconds", "15", "--warmup", "0.5", "--interval", "0.1",
        "--instances", str(instances), "--prepared", "--no-floors",
        "--metrics-url", subject.metrics_url,
    )  # fmt: skip
    compacting.join()
    mark = next(mark for mark in result["server"]["marks"] if mark["kind"] == "compaction")
    series = result["series"]
    first = int(mark["from"] / series["interval_seconds"])
    last = int(mark["to"] / series["interval_seconds"])
    # An interval more on each side: a mark is as sharp as the scrapes, 0.1 s.
    waits = series["max_ms"][max(first - 1, 0) : last + 2]
    tails = series["p99_ms"][max(first - 1, 0) : last + 2]
    return {
        "compact": Sample(took[0]),
        "longest wait": Sample(max(waits), sorted(tails)[len(tails) // 2]),
    }
