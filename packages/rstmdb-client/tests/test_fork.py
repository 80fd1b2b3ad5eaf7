"""A process that forks with an open client, as servers with worker processes do."""

from __future__ import annotations

import subprocess
import sys

from rstmdb_client import SyncClient

SCRIPT = """
import os, sys
from rstmdb_client import SyncClient

def ask(db, watch, name, number):
    for _ in range(300):
        assert db.get_instance(name).ctx["n"] == number, "somebody else's answer"
    assert next(watch).instance_id == "f-0"  # both see the one event, each for itself

with SyncClient.from_url(sys.argv[1]) as db:
    watch = db.watch_all(machines=["order"])
    watch.begin()
    child = os.fork()
    if child == 0:
        try:
            with SyncClient.from_url(sys.argv[1]) as other:
                other.apply_event("f-0", "PAY")
            ask(db, watch, "f-1", 1)
            db.close()
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    ask(db, watch, "f-0", 0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child has failed"
    again = os.fork()
    if again == 0:
        os._exit(0)  # a child that uses nothing takes nothing away
    os.waitpid(again, 0)
    assert db.get_instance("f-0").ctx["n"] == 0
    print("done")
"""


def test_a_forked_process_gets_connections_of_its_own(url: str) -> None:
    with SyncClient.from_url(url) as db:
        for number in range(2):
            ctx = {"n": number, "amount": 1}
            db.create_instance("order", 1, instance_id=f"f-{number}", initial_ctx=ctx)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
