"""Order fulfilment: guards, a webhook that comes twice, and a list by state as a work queue.

python examples/order_fulfilment.py                          embedded, in memory
python examples/order_fulfilment.py rstmdb://127.0.0.1:7401  on a server
"""

from __future__ import annotations

import sys

from rstmdb_client import ServerError, StateMachineDatabase, SyncClient
from rstmdb_storage import Database, Rejection

REFUSED = (ServerError, Rejection)
"""What a refusal is: the first on a server, the second embedded."""

ORDER = {
    "states": ["cart", "placed", "paid", "packed", "shipped", "cancelled"],
    "initial": "cart",
    "transitions": [
        {"from": "cart", "event": "PLACE", "to": "placed", "guard": "ctx.items.length > 0"},
        {"from": "placed", "event": "PAY", "to": "paid"},
        {"from": "paid", "event": "HOLD", "to": "paid"},
        {"from": "paid", "event": "PACK", "to": "packed", "guard": "!ctx.held"},
        {"from": "packed", "event": "SHIP", "to": "shipped", "guard": "ctx.address"},
        {"from": ["cart", "placed", "paid"], "event": "CANCEL", "to": "cancelled"},
    ],
}


def take_orders(db: StateMachineDatabase) -> None:
    """Five carts in one request; each of them is placed, unless its guard says no."""
    with db.batch(atomic=True) as batch:
        for number in range(1, 6):
            items = [] if number == 3 else [f"book {number}"]
            ctx = {"items": items, "address": f"{number} Rue Cler"}
            batch.create_instance("order", 1, instance_id=f"order-{number}", initial_ctx=ctx)
    with db.batch() as batch:  # each on its own: one that is refused stops no other
        for number in range(1, 6):
            batch.apply_event(f"order-{number}", "PLACE")
    for number, result in enumerate(batch.results, 1):
        if isinstance(result, REFUSED):
            print(f"order-{number} was not placed: {result}")


def payment_webhook(db: StateMachineDatabase, payment: str, order: str) -> None:
    """The bank calls this at least once for each payment, and sometimes twice.

    The payment's own number is the idempotency key: the second call changes nothing, and gets
    the answer of the first.
    """
    paid = db.apply_event(order, "PAY", {"payment": payment}, idempotency_key=payment)
    print(f"{payment} for {order}: {'booked' if paid.applied else 'known already'}")


def pack_what_is_paid(db: StateMachineDatabase) -> None:
    """The packing bench: what is to be done is the list of orders in the state `paid`."""
    after = None
    while True:
        page = db.list_instances(machine="order", state="paid", limit=2, after=after)
        for row in page.instances:
            try:
                db.apply_event(row.id, "PACK", {"parcel": f"P-{row.id}"}, expected_state="paid")
            except REFUSED as refused:
                print(f"{row.id} stays where it is: {refused}")
            else:
                db.apply_event(row.id, "SHIP")
        if not page.has_more:
            return
        after = page.instances[-1].id


def run(db: StateMachineDatabase) -> None:
    """Tell the story."""
    db.put_machine("order", 1, ORDER)
    take_orders(db)
    for payment, order in (("pay-71", "order-1"), ("pay-72", "order-2"), ("pay-71", "order-1"),
                           ("pay-73", "order-5")):  # fmt: skip
        payment_webhook(db, payment, order)
    db.apply_event("order-2", "HOLD", {"held": True, "why": "address to be checked"})
    db.apply_event("order-4", "CANCEL")
    pack_what_is_paid(db)
    for state in ORDER["states"]:
        page = db.list_instances(machine="order", state=str(state))
        print(f"{state:<10} {', '.join(row.id for row in page.instances) or '-'}")


def main() -> None:
    """Run on a server if its URL is given, else embedded."""
    url = next(iter(sys.argv[1:]), None)
    with SyncClient.from_url(url) if url else Database.open(":memory:") as db:
        run(db)


if __name__ == "__main__":
    main()
