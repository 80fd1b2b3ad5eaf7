"""A saga: a trip of three bookings, all or none, although each is made with another company.

`python examples/saga.py` runs it embedded, in memory; with a URL behind it, such as
rstmdb://127.0.0.1:7401, on a server.

How far a trip has come is the state of its instance. A step is taken by doing the work first
and applying the event then; a worker that dies in between leaves a state from which any other
worker goes on. So the work may be done twice, and every booking has a number of its own by
which the company knows the second request for the first. Where a booking fails, the events of
the way back undo what was booked, last first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rstmdb_client import StateMachineDatabase, SyncClient
from rstmdb_storage import Database

TRIP: dict[str, Any] = {
    "states": ["started", "flight_booked", "hotel_booked", "booked",
               "undo_hotel", "undo_flight", "cancelled"],
    "initial": "started",
    "transitions": [
        {"from": "started", "event": "FLIGHT_BOOKED", "to": "flight_booked"},
        {"from": "flight_booked", "event": "HOTEL_BOOKED", "to": "hotel_booked"},
        {"from": "hotel_booked", "event": "CARD_CHARGED", "to": "booked"},
        {"from": "started", "event": "FAILED", "to": "cancelled"},
        {"from": "flight_booked", "event": "FAILED", "to": "undo_flight"},
        {"from": "hotel_booked", "event": "FAILED", "to": "undo_hotel"},
        {"from": "undo_hotel", "event": "HOTEL_CANCELLED", "to": "undo_flight"},
        {"from": "undo_flight", "event": "FLIGHT_CANCELLED", "to": "cancelled"},
    ],
}  # fmt: skip
STEPS: dict[str, tuple[str, str, str]] = {
    "started": ("flight", "book", "FLIGHT_BOOKED"),
    "flight_booked": ("hotel", "book", "HOTEL_BOOKED"),
    "hotel_booked": ("card", "book", "CARD_CHARGED"),
    "undo_hotel": ("hotel", "cancel", "HOTEL_CANCELLED"),
    "undo_flight": ("flight", "cancel", "FLIGHT_CANCELLED"),
}
"""What is to be done in each state, with whom, and the event that says that it is done."""


class Declined(Exception):
    """A company does not want to."""


class WorkerDied(Exception):
    """Stands for a power cut, a deployment, a bug."""


class Company:
    """Somebody else's service: it knows its bookings by the number that the client gave."""

    def __init__(self, *declined: str) -> None:
        self.bookings: set[str] = set()
        self.requests = 0
        self._declined = declined

    def book(self, number: str) -> None:
        """Book; the same number again is the same booking. Raises Declined."""
        self.requests += 1
        if number.startswith(self._declined):
            raise Declined(number)
        self.bookings.add(number)

    def cancel(self, number: str) -> None:
        """Cancel; what was never booked, or is cancelled already, is no error."""
        self.requests += 1
        self.bookings.discard(number)


def work(db: StateMachineDatabase, trip: str, world: dict[str, Company],
         may_die: Callable[[str], None]) -> str:  # fmt: skip
    """Take a trip from wherever it is to its end; its last state."""
    while True:
        state = db.get_instance(trip).state
        if state not in STEPS:
            return state
        company, action, event = STEPS[state]
        try:
            getattr(world[company], action)(f"{trip}/{company}")
        except Declined:
            event = "FAILED"
        may_die(state)
        # Should another worker have been faster, this is refused, or answered as the repeat
        # that it is: the key is the same for whoever takes this step of this trip.
        db.apply_event(trip, event, expected_state=state, idempotency_key=f"{trip}/{state}")


def run(db: StateMachineDatabase) -> None:
    """Four trips: a good one, two that fail on the way, and one whose workers die at each step."""
    db.put_machine("trip", 1, TRIP)
    world = {"flight": Company(), "hotel": Company("rainy"), "card": Company("broke")}
    for trip in ("sunny", "broke", "rainy", "bumpy"):
        db.create_instance("trip", 1, instance_id=trip)
    for trip in ("sunny", "broke", "rainy"):
        print(f"{trip}: {work(db, trip, world, may_die=lambda _: None)}")

    deaths: list[str] = []

    def die_once_in_each_state(state: str) -> None:
        if state not in deaths:
            deaths.append(state)
            raise WorkerDied

    while True:
        try:
            print(f"bumpy: {work(db, 'bumpy', world, die_once_in_each_state)}")
            break
        except WorkerDied:
            print(f"bumpy: a worker died in {deaths[-1]}, the next one goes on")
    for name, company in world.items():
        print(f"{name}: {', '.join(sorted(company.bookings))} ({company.requests} requests)")


def main() -> None:
    """Run on a server if its URL is given, else embedded."""
    url = next(iter(sys.argv[1:]), None)
    with SyncClient.from_url(url) if url else Database.open(":memory:") as db:
        run(db)


if __name__ == "__main__":
    main()
