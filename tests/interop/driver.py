"""Every method of the shipped Python client (distribution rstmdb 0.2.1) against a server.

Run with the interpreter of an environment that holds that client and nothing of ours:
`python driver.py HOST PORT TOKEN`. Prints one JSON object: what each call gave, by name, and
the public names of the client that were not called.
"""

import asyncio
import json
import sys

import rstmdb

ORDER = {
    "states": ["created", "paid", "shipped"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
    ],
}


def plain(value):
    """A result as JSON: models by their fields."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


class Recorder:
    """Calls methods by name and keeps what they gave."""

    def __init__(self, client):
        self.client = client
        self.called = set()
        self.results = {}

    async def call(self, label, method, *args, **kwargs):
        self.called.add(method)
        try:
            result = await getattr(self.client, method)(*args, **kwargs)
            self.results[label] = {"ok": plain(result)}
        except rstmdb.ServerError as error:
            code = getattr(error, "code", None)
            self.results[label] = {"error": getattr(code, "value", code)}
            return None
        return result

    async def events(self, label, count):
        self.called.add("events")
        found = []
        async for event in self.client.events():
            found.append(plain(event))
            if len(found) == count:
                break
        self.results[label] = {"ok": found}


async def exercise(host, port, token):
    client = rstmdb.Client(host, port, token=token)
    recorder = Recorder(client)
    call = recorder.call
    await call("connect", "connect")
    recorder.called.add("is_connected")
    recorder.results["is_connected"] = {"ok": client.is_connected}
    await call("ping", "ping")
    await call("info", "info")
    await call("flush_all", "flush_all")
    await call("put_machine", "put_machine", "order", 1, ORDER)
    await call("put_machine again", "put_machine", "order", 1, ORDER)
    await call("put_machine other", "put_machine", "order", 1, {**ORDER, "initial": "paid"})
    await call("put_machine bad", "put_machine", "bad", 1, {"states": []})
    await call("get_machine", "get_machine", "order", 1)
    await call("get_machine unknown", "get_machine", "nope", 1)
    await call("list_machines", "list_machines")
    await call("create", "create_instance", "order", 1, "o-1", {"amount": 5})
    await call("create exists", "create_instance", "order", 1, "o-1")
    await call("create unnamed", "create_instance", "order", 1, None, {"amount": 1}, "key-1")
    await call("create repeat", "create_instance", "order", 1, None, {"amount": 1}, "key-1")
    await call("create poor", "create_instance", "order", 1, "poor", {"amount": 0})
    await call("create doomed", "create_instance", "order", 1, "doomed")
    watched = await call("watch_instance", "watch_instance", "o-1")
    everything = await call("watch_all", "watch_all", ["order"], None, ["paid", "shipped"])
    await call("watch unknown", "watch_instance", "nope")
    await call("apply", "apply_event", "o-1", "PAY", {"by": "card"}, "created", "key-2")
    await call("apply repeat", "apply_event", "o-1", "PAY", {"by": "card"}, "created", "key-2")
    await call("apply conflict", "apply_event", "o-1", "SHIP", None, "created")
    await call("apply invalid", "apply_event", "o-1", "PAY")
    await call("apply guard", "apply_event", "poor", "PAY")
    await call("apply unknown", "apply_event", "nope", "PAY")
    await call("apply ship", "apply_event", "o-1", "SHIP")
    await asyncio.wait_for(recorder.events("events", 4), 10)
    await call("unwatch", "unwatch", watched.subscription_id)
    await call("unwatch all", "unwatch", everything.subscription_id)
    await call("unwatch again", "unwatch", watched.subscription_id)
    await call("get_instance", "get_instance", "o-1")
    await call("get unknown", "get_instance", "nope")
    await call("list_instances", "list_instances", "order", None, 2, 1)
    await call("list by state", "list_instances", "order", "shipped")
    await call("delete", "delete_instance", "doomed", "key-3")
    await call("delete repeat", "delete_instance", "doomed", "key-3")
    await call("delete unknown", "delete_instance", "nope")
    await call("wal_read", "wal_read", 0, 5)
    await call("wal_stats", "wal_stats")
    await call("compact", "compact", True)
    await call("reconnect", "reconnect")
    await call("after reconnect", "get_instance", "o-1")
    await call("close", "close")
    wrong = Recorder(rstmdb.Client(host, port, token="wrong"))
    try:
        await wrong.call("connect with a wrong token", "connect")
    except rstmdb.RstmdbError as error:
        wrong.results["connect with a wrong token"] = {"raised": type(error).__name__}
    await wrong.client.close()
    recorder.results.update(wrong.results)
    public = {name for name in dir(rstmdb.Client) if not name.startswith("_")}
    return {"results": recorder.results, "uncovered": sorted(public - recorder.called)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(exercise(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
