import re
from html.parser import HTMLParser
from typing import Any

import pytest

from rstmdb_bench._connect import Address
from rstmdb_bench._errors import BenchError
from rstmdb_bench._histogram import Histogram
from rstmdb_bench._load import LoadSettings
from rstmdb_bench._page import render_page
from rstmdb_bench._report import Floors, run_report, sweep_report, watch_report
from rstmdb_bench._result import LoadResult
from rstmdb_bench._watchers import WatchResult, WatchSettings
from rstmdb_bench._workload import Workload

ADDRESS = Address("127.0.0.1", 7401)
GOAL = {
    "row": "GET <16 x 1>", "goal": "at least 0.75 E", "measured": "0.9 E", "spread": "0.8 to 1.0",
    "times": 1.2, "reached": True,
}  # fmt: skip


def measured(rate: int) -> LoadResult:
    made = LoadResult(ok=rate * 2, started_ns=0, ended_ns=2 * 10**9)
    for number in range(9):
        made.intervals[number] = Histogram()
        made.intervals[number].record(10**6 * (number + 1), rate // 9)
        made.latencies.merge(made.intervals[number])
    return made


def run(workload: Workload, connections: int, **more: Any) -> dict[str, Any]:
    settings = LoadSettings(ADDRESS, workload, connections, 1, 2.0, 0.0, **more)
    return run_report(settings, measured(900 * connections), Floors(measured(9000), 80.0, "/d"))


class Structure(HTMLParser):
    """Opens and closes of the tags that must match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.foreign += [
            value
            for name, value in attrs
            if name in {"src", "href", "xlink:href"} and value and not value.startswith("#")
        ]
        if tag in {"table", "tr", "td", "th", "figure", "figcaption", "svg", "g", "h2"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and tag == self.open[-1]:
            self.open.pop()


def structure(page: str) -> Structure:
    parser = Structure()
    parser.feed(page)
    return parser


def test_a_page_holds_every_kind_of_result_and_needs_nothing_beside_it() -> None:
    sweep = sweep_report([run(w, c) for w in (Workload.GET, Workload.APPLY) for c in (1, 16)])
    open_loop = run(Workload.MIXED, 4, rate_per_second=3600)
    open_loop["server"] = {
        "marks": [{"kind": "compaction", "from": 0.5, "to": 1.0}],
        "at_seconds": [-0.1, 0.1, 1.9],
        "resident_bytes": [1 << 20] * 3,
    }
    delivered = WatchResult(5, 50, 1.0)
    delivered.latencies.record(2_000_000, 50)
    watch = watch_report(WatchSettings(ADDRESS, 10, 1, 1.0), delivered)
    goals = {"kind": "goals", "rows": [GOAL, GOAL | {"reached": False, "times": 0.5}]}
    page = render_page("A & B", [sweep, open_loop, watch, goals])
    found = structure(page)
    assert found.open == []
    assert found.foreign == []
    assert found.seen.count("svg") == 1 + 2 + 2 + 1
    assert "<title>A &amp; B</title>" in page
    assert "GET &lt;16 x 1&gt;" in page
    assert page.count('class="missed"') == 1
    for text in ("14,400", "compaction", "50 deliveries/s", "E, echo", "open loop"):
        assert text in page
    assert re.search(r"<td>apply</td><td>16 x 1</td><td>14,400</td>", page)


def test_the_same_results_give_the_same_page() -> None:
    results = [sweep_report([run(Workload.GET, 1), run(Workload.GET, 2)])]
    assert render_page("x", results) == render_page("x", results)


def test_a_run_without_answers_can_be_drawn() -> None:
    settings = LoadSettings(ADDRESS, Workload.GET, 1, 1, 2.0, 0.0)
    page = render_page("x", [run_report(settings, LoadResult(), None)])
    assert structure(page).open == []


def test_results_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(BenchError, match="no run, sweep, watch or goals"):
        render_page("x", [{"kind": "diff"}])
