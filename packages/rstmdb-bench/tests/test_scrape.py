import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rstmdb_bench._errors import BenchError
from rstmdb_bench._scrape import Scraper, read_metrics


@contextmanager
def metrics(texts: list[str]) -> Iterator[str]:
    """Each scrape gets the next text, the last one again and again; an empty one is a 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = texts.pop(0) if len(texts) > 1 else texts[0]
            self.send_response(200 if text else 503)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def compactions(count: int, seconds: float) -> str:
    return (
        "# HELP rstmdb_compaction_duration_seconds time of a compaction\n"
        f"rstmdb_compaction_duration_seconds_count {count}.0\n"
        f"rstmdb_compaction_duration_seconds_sum {seconds}\n"
        'rstmdb_requests_total{operation="PING"} 5.0\n'
        "process_resident_memory_bytes 5.0e+07\n"
    )


def test_metrics_without_labels_are_read() -> None:
    with metrics([compactions(2, 1.5)]) as url:
        values = read_metrics(url)
    assert values == {
        "rstmdb_compaction_duration_seconds_count": 2,
        "rstmdb_compaction_duration_seconds_sum": 1.5,
        "process_resident_memory_bytes": 50_000_000,
    }


def test_work_that_ended_between_two_scrapes_is_marked_with_its_length() -> None:
    texts = [compactions(1, 9.0), compactions(1, 9.0), "", compactions(2, 9.25)]
    with metrics(texts) as url:
        began = time.monotonic_ns()
        with Scraper(url, 0.02) as scraper:
            while len(texts) > 1:
                time.sleep(0.02)
            time.sleep(0.1)
        report = scraper.report(began)
    [mark] = report["marks"]
    assert mark["kind"] == "compaction"
    assert mark["to"] - mark["from"] == pytest.approx(0.25, abs=0.002)
    assert mark["to"] > 0
    assert set(report["resident_bytes"]) == {50_000_000}
    assert len(report["at_seconds"]) == len(report["resident_bytes"]) >= 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/metrics", "nonsense"])
def test_metrics_that_are_not_there_are_told_before_the_run(url: str) -> None:
    with pytest.raises(BenchError, match=r"can't read metrics at .*metrics\.enabled"), Scraper(url):
        pytest.fail("entered")
