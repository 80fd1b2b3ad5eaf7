"""The examples run, embedded and on a server, and do what they say."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rstmdb_client import SyncClient
from rstmdb_server.testing import ServerProcess

EXAMPLES = Path(__file__).parents[2] / "examples"
SEED = int(os.environ.get("RSTMDB_TEST_SEED", "20261124"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for the examples of this module, which use machines of different names."""
    with ServerProcess(tmp_path_factory.mktemp("examples")) as process:
        yield process


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"rstmdb://{server.address}"


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]


def output(name: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        command(name, *arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_each_example_is_in_the_list_and_tested_here() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == {
        "demo", "order_fulfilment", "approval", "saga", "iot_devices", "read_model",
    }  # fmt: skip
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"[{name}.py]({name}.py)" in readme for name in scripts)


def test_order_fulfilment(url: str) -> None:
    told = output("order_fulfilment")
    assert told == output("order_fulfilment", url)
    assert "order-3 was not placed" in told[0]
    assert told[1:5] == [
        "pay-71 for order-1: booked",
        "pay-72 for order-2: booked",
        "pay-71 for order-1: known already",
        "pay-73 for order-5: booked",
    ]
    assert [line.split(maxsplit=1) for line in told[-6:]] == [
        ["cart", "order-3"],
        ["placed", "-"],
        ["paid", "order-2"],
        ["packed", "-"],
        ["shipped", "order-1, order-5"],
        ["cancelled", "order-4"],
    ]


def test_approval(url: str) -> None:
    told = output("approval")
    assert told == output("approval", url)
    assert told[1:6] == [
        "lunch: Ann -> approved",
        "laptop: Ann -> submitted",
        "laptop: Ann has approved laptop before",
        "laptop: Bob -> approved",
        "server: approved by Ann, Bob, Cid",
    ]


def test_saga(url: str) -> None:
    told = output("saga")
    assert told == output("saga", url)
    assert told[:3] == ["sunny: booked", "broke: cancelled", "rainy: cancelled"]
    assert told[-4] == "bumpy: booked"
    assert sum("a worker died" in line for line in told) == 3
    for line, company in zip(told[-3:], ("flight", "hotel", "card"), strict=True):
        assert line.startswith(f"{company}: bumpy/{company}, sunny/{company} (")


def test_iot_devices(url: str) -> None:
    told = output("iot_devices", url)
    assert told[0] == "alarms: device-007, device-042"
    assert told[1] == "after 5 measurements each: 58 online, 2 alarm"
    ordered, refused = (int(word) for word in told[2].split() if word.isdigit())
    assert ordered + refused == 58
    assert refused > 0
    assert told[3] == f"then: {refused} online, 2 alarm, {ordered} updating"


LIGHT = {
    "states": ["off", "on"],
    "initial": "off",
    "transitions": [
        {"from": "off", "event": "PRESS", "to": "on"},
        {"from": "on", "event": "PRESS", "to": "off"},
    ],
}


def test_a_read_model_that_is_killed_again_and_again_counts_each_event_once(
    tmp_path: Path,
) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    model = tmp_path / "model.db"
    lights, written = 10, 0
    with ServerProcess(tmp_path) as own:
        url = f"rstmdb://{own.address}"
        with SyncClient.from_url(url) as db:
            db.put_machine("light", 1, LIGHT)
            for number in range(lights):
                db.create_instance("light", 1, instance_id=f"l-{number}")
            assert output("read_model", str(model), url, "--idle", "0.2") == [
                f"light: {lights} off",
                "0 transitions",
            ]
            for _ in range(3):
                seen, more = counted(model), rng.randrange(1, 200)
                with subprocess.Popen(command("read_model", str(model), url)) as reader:
                    while more > 0:
                        db.apply_event(f"l-{written % lights}", "PRESS")
                        written += 1
                        more -= counted(model) > seen  # so many more once it reads
                    reader.kill()
        told = output("read_model", str(model), url, "--idle", "1")
    on = sum(len(range(number, written, lights)) % 2 for number in range(lights))
    rows = [f"light: {count} {state}" for count, state in ((lights - on, "off"), (on, "on"))]
    assert told == [*(row for row in rows if " 0 " not in row), f"{written} transitions"]


def counted(model: Path) -> int:
    sql = sqlite3.connect(model, timeout=60)
    try:
        total: int = sql.execute("SELECT COALESCE(SUM(count), 0) FROM transitions").fetchone()[0]
        return total
    finally:
        sql.close()


def test_a_read_model_whose_place_was_compacted_away_begins_anew(tmp_path: Path) -> None:
    model = str(tmp_path / "model.db")
    pad = random.Random(1).randbytes(450_000).hex()  # which compresses to a half at most
    env = {"RSTMDB_COMPACT_ENABLED": "false", "RSTMDB_WAL_SEGMENT_SIZE_MB": "1"}
    with ServerProcess(tmp_path, env) as own:
        url = f"rstmdb://{own.address}"
        with SyncClient.from_url(url) as db:
            db.put_machine("light", 1, LIGHT)
            db.create_instance("light", 1, instance_id="hall")
            output("read_model", model, url, "--idle", "0.2")
            for number in range(7):
                db.apply_event("hall", "PRESS", {"pad": f"{number}{pad}"})
            assert db.compact(force_snapshot=True).segments_deleted > 0
        told = output("read_model", model, url, "--idle", "0.2")
    assert told == [
        "the watch has ended: compacted: beginning anew with the instances as they are",
        "light: 1 on",
        "0 transitions",
    ]
