"""IoT devices: many of them at once on one connection, a watch for alarms, a batch of orders.

`python examples/iot_devices.py rstmdb://127.0.0.1:7401`; without a URL it looks for a server
where rstmdb-cli does (RSTMDB_URL, RSTMDB_SERVER, 127.0.0.1:7401).
"""

from __future__ import annotations

import random
import sys
from typing import Any

import anyio

from rstmdb_client import BatchEntry, Client, GuardFailedError, Target

DEVICE: dict[str, Any] = {
    "states": ["new", "online", "alarm", "updating", "retired"],
    "initial": "new",
    "transitions": [
        {"from": "new", "event": "CONNECT", "to": "online"},
        # A measurement changes the context; the guards of CHECK look at it.
        {"from": ["online", "alarm"], "event": "MEASURE", "to": "online"},
        {"from": "online", "event": "CHECK", "to": "alarm", "guard": "ctx.celsius >= 80"},
        {"from": "online", "event": "CHECK", "to": "online"},
        {"from": "online", "event": "UPDATE", "to": "updating", "guard": "ctx.battery >= 0.3"},
        {"from": "updating", "event": "UPDATED", "to": "online"},
    ],
}
DEVICES = 60
ROUNDS = 5
HOT = {"device-007", "device-042"}


async def live(db: Client, device: str, seed: int) -> None:
    """One device: it measures a few times; its event ids tell measurements apart."""
    rng = random.Random(seed)
    await db.apply_event(device, "CONNECT")
    for number in range(ROUNDS):
        celsius = 95 if device in HOT and number == ROUNDS - 1 else rng.randrange(20, 60)
        measured = {"celsius": celsius, "battery": round(rng.uniform(0.2, 1), 2)}
        async with db.batch(atomic=True) as batch:
            batch.apply_event(device, "MEASURE", measured, event_id=f"{device}/{number}")
            batch.apply_event(device, "CHECK")


async def hear_alarms(db: Client, heard: set[str], begun: anyio.Event) -> None:
    """Watch from now on for whatever enters `alarm`, until all hot devices were heard."""
    async with db.watch_all(machines=["device"], to_states=["alarm"]) as watch:
        begun.set()
        async for event in watch:
            heard.add(event.instance_id)
            if heard == HOT:
                return


async def count(db: Client) -> str:
    """How many devices are in each state: `total` costs the same for ten and for a million."""
    totals = {}
    for state in DEVICE["states"]:
        totals[state] = (await db.list_instances(machine="device", state=state, limit=1)).total
    return ", ".join(f"{total} {state}" for state, total in totals.items() if total)


async def update_all(db: Client) -> tuple[int, int]:
    """Order an update from every device that is online; a low battery refuses."""
    orders: list[BatchEntry[Any]] = []
    names = [row.id async for row in db.instances(machine="device", state="online")]
    for first in range(0, len(names), 50):
        async with db.batch() as batch:  # each on its own, fifty in one request
            orders += [batch.apply_event(name, "UPDATE") for name in names[first : first + 50]]
    refused = sum(isinstance(order.outcome, GuardFailedError) for order in orders)
    return len(orders) - refused, refused


async def main(target: Target) -> None:
    """Let the devices live, all at once, over one connection."""
    async with Client(target) as db:
        await db.put_machine("device", 1, DEVICE)
        names = [f"device-{number:03}" for number in range(DEVICES)]
        async with db.batch(atomic=True) as batch:
            for name in names:
                ctx = {"celsius": 20, "battery": 1}
                batch.create_instance("device", 1, instance_id=name, initial_ctx=ctx)
        heard: set[str] = set()
        async with anyio.create_task_group() as tasks:
            begun = anyio.Event()
            tasks.start_soon(hear_alarms, db, heard, begun)
            await begun.wait()
            for seed, name in enumerate(names):
                tasks.start_soon(live, db, name, seed)
        print(f"alarms: {', '.join(sorted(heard))}")
        print(f"after {ROUNDS} measurements each: {await count(db)}")
        ordered, refused = await update_all(db)
        print(f"updates: {ordered} ordered, {refused} refused for a low battery")
        print(f"then: {await count(db)}")


if __name__ == "__main__":
    url = next(iter(sys.argv[1:]), None)
    anyio.run(main, Target.parse(url) if url else Target.from_environ())
