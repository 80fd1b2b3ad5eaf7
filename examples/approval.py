"""Approval with guards: the amount decides how many must agree, and no voice gets lost.

python examples/approval.py                          embedded, in memory
python examples/approval.py rstmdb://127.0.0.1:7401  on a server
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from rstmdb_client import ServerError, StateMachineDatabase, SyncClient
from rstmdb_storage import Database, Rejection

REFUSED = (ServerError, Rejection)
"""What a refusal is: the first on a server, the second embedded."""

# The candidates of APPROVE are tried in their order, and the first whose guard holds is taken. A
# guard sees the context before the event: `ctx.voices` are those who have agreed so far.
EXPENSE: dict[str, Any] = {
    "states": ["draft", "submitted", "approved", "rejected", "paid"],
    "initial": "draft",
    "transitions": [
        {"from": "draft", "event": "SUBMIT", "to": "submitted", "guard": "ctx.amount > 0"},
        {"from": "submitted", "event": "APPROVE", "to": "approved", "guard": "ctx.amount <= 100"},
        {
            "from": "submitted",
            "event": "APPROVE",
            "to": "approved",
            "guard": "ctx.amount <= 5000 && ctx.voices.length >= 1 || ctx.voices.length >= 2",
        },
        {"from": "submitted", "event": "APPROVE", "to": "submitted"},
        {"from": "submitted", "event": "REJECT", "to": "rejected"},
        {"from": "approved", "event": "PAY", "to": "paid"},
    ],
}


class AlreadyHeard(Exception):
    """Somebody tried to approve twice."""


def approve(db: StateMachineDatabase, expense: str, name: str) -> str:
    """Add a voice; the state that comes of it.

    The new list of voices is made from the one that was read. Should another approver be
    faster, the event is refused, and the decision is made again with the other voice in it.
    """

    def decide(found: Any) -> tuple[str, dict[str, Any]] | None:
        voices = found.ctx["voices"]
        if name in voices:
            raise AlreadyHeard(f"{name} has approved {expense} before")
        if found.state != "submitted":
            return None  # enough others have agreed
        return "APPROVE", {"voices": [*voices, name]}

    applied = db.decide_and_apply(expense, decide)
    return "settled before" if applied is None else applied.to_state


def everybody_at_once(db: StateMachineDatabase, expense: str, names: list[str]) -> None:
    """Approvers do not wait for each other."""
    threads = [threading.Thread(target=approve, args=(db, expense, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(db: StateMachineDatabase) -> None:
    """Tell the story."""
    db.put_machine("expense", 1, EXPENSE)
    for expense, amount in (("lunch", 40), ("laptop", 2000), ("server", 30_000), ("gift", 0)):
        ctx = {"amount": amount, "voices": []}
        db.create_instance("expense", 1, instance_id=expense, initial_ctx=ctx)
        try:
            db.apply_event(expense, "SUBMIT")
        except REFUSED as refused:
            print(f"{expense}: {refused}")

    print(f"lunch: Ann -> {approve(db, 'lunch', 'Ann')}")
    print(f"laptop: Ann -> {approve(db, 'laptop', 'Ann')}")
    try:
        approve(db, "laptop", "Ann")
    except AlreadyHeard as refused:
        print(f"laptop: {refused}")
    print(f"laptop: Bob -> {approve(db, 'laptop', 'Bob')}")

    everybody_at_once(db, "server", ["Ann", "Bob", "Cid"])
    found = db.get_instance("server")
    print(f"server: {found.state} by {', '.join(sorted(found.ctx['voices']))}")
    try:
        db.apply_event("gift", "PAY")
    except REFUSED as refused:
        print(f"gift: {refused}")


def main() -> None:
    """Run on a server if its URL is given, else embedded."""
    url = next(iter(sys.argv[1:]), None)
    with SyncClient.from_url(url) if url else Database.open(":memory:") as db:
        run(db)


if __name__ == "__main__":
    main()
