"""Use the shipped client as told: a JSON order a line on stdin, a JSON answer a line on stdout.

Runs with the interpreter of the client's own environment and imports nothing of ours. Bytes
travel as {"hex": ...}, an object made by an earlier order as {"object": its name}.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import rstmdb  # type: ignore[import-not-found, unused-ignore]  # only in that environment

PATIENCE_SECS = 20.0


class Driver:
    """The objects that were made, by name, and what can be done with them."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {"rstmdb": rstmdb, "Frame": rstmdb.Frame}
        self.streams: dict[str, Any] = {}
        self.reconnects = 0

    def _reconnected(self) -> None:
        self.reconnects += 1

    def decoded(self, value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        if isinstance(value, dict) and set(value) == {"object"}:
            return self.objects[value["object"]]
        if value == "<count reconnects>":
            return self._reconnected
        return value

    def encoded(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return {"hex": value.hex()}
        if isinstance(value, rstmdb.Frame):
            return {"payload": self.encoded(value.payload)}
        if isinstance(value, tuple | list):
            return [self.encoded(item) for item in value]
        if hasattr(value, "model_dump"):
            return value.model_dump(mode="json")
        return value

    async def obey(self, order: dict[str, Any]) -> Any:
        args = [self.decoded(value) for value in order.get("args", ())]
        kwargs = {key: self.decoded(value) for key, value in order.get("kwargs", {}).items()}
        match order["do"]:
            case "make":
                self.objects[order["name"]] = getattr(rstmdb, order["what"])(*args, **kwargs)
                return None
            case "get":
                return getattr(self.objects[order["name"]], order["what"])
            case "reconnects":
                return self.reconnects
            case "members":
                return list(getattr(rstmdb, order["what"]).__members__)
            case "public":
                public = dir(getattr(rstmdb, order["what"]))
                return [name for name in public if not name.startswith("_")]
            case "call":
                return await self.call(order["name"], order["what"], args, kwargs)
            case "together":
                return await asyncio.gather(*map(self.obey, order["orders"]))
            case "events":
                return await self.events(order["name"], order["count"], fresh=order["fresh"])
            case unknown:
                raise ValueError(unknown)

    async def call(self, name: str, what: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        target = self.objects[name]
        if isinstance(target, rstmdb.Connection) and what == "request":
            args[0] = rstmdb.Operation(args[0])
        result = getattr(target, what)(*args, **kwargs)
        if inspect.isawaitable(result):
            result = await asyncio.wait_for(result, PATIENCE_SECS)
        return self.encoded(result)

    async def events(self, name: str, count: int, *, fresh: bool) -> list[Any]:
        """The next events of a client's or a connection's stream; fewer where it ends."""
        if fresh or name not in self.streams:
            self.streams[name] = self.objects[name].events()
        taken: list[Any] = []
        while len(taken) < count:
            try:
                event = await asyncio.wait_for(anext(self.streams[name]), PATIENCE_SECS)
            except StopAsyncIteration:
                break
            taken.append(self.encoded(event))
        return taken


def described(error: Exception) -> dict[str, Any]:
    code = getattr(error, "code", None)
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "module": type(error).__module__,
        "code": getattr(code, "value", code),
        "message": str(getattr(error, "message", error)),
    }


async def main() -> None:
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"ok": await driver.obey(json.loads(line))}
        except Exception as error:  # noqa: BLE001 (whatever the client raises is the finding)
            answer = {"error": described(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
